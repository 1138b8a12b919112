/* SPDX-License-Identifier: MIT */
/* Who computes on AMD GPUs, and how these are connected, according to amdkfd, the kernel's side of
 * ROCm: /sys/class/kfd, readable for all. */
#pragma once

#include "gpu/card.h"

/* Both add to a sample whose i-th GPU is cards[i]. Links over XGMI are GPU_LINK_NVLINK. Processes:
 * -ENOENT if there is no amdkfd, -ENOMEM. */
int kfd_read_processes(struct sample *sample, int root, const struct card *const cards[]);
void kfd_read_links(struct sample *sample, int root, const struct card *const cards[]);
