# SPDX-License-Identifier: MIT
"""The version of gpu_lock whose interface this is."""

version = "0.2.1"
