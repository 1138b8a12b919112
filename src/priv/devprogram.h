/* SPDX-License-Identifier: MIT */
/*
 * The BPF program of the device filter. What it answers is described in priv/devfilter.h. Facts:
 * bpf-helpers(7), kernel/bpf/cgroup.c; this type of program has
 * bpf_get_current_ancestor_cgroup_id() since Linux 6.1.
 */
#pragma once

/* Loads the program for this map (priv/devmap.h). Returns a descriptor, -EINVAL if
 * this kernel has not all that it needs, or another negative errno. */
int devprogram_load(int map);
