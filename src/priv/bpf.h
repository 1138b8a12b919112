/* SPDX-License-Identifier: MIT */
/*
 * The few commands of bpf(2) that the device filter needs; the C library has no function for it.
 * All return a negative errno on failure. Descriptors are the caller's, and close-on-exec.
 */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

/* All of *attr must have been set to zero first: a kernel refuses what it does not know if it is
 * not zero. */
int bpf_call(enum bpf_cmd command, union bpf_attr *attr);

static inline uint64_t bpf_address(const void *p)
{
	return (uintptr_t)p;
}

/* What the kernel tells of a map, a program or a link, in a struct of linux/bpf.h; what it does not
 * know stays as it is. */
int bpf_get_info(int fd, void *info, size_t size);

/* The map, program or link that is pinned there. */
int bpf_get(const char *path);

int bpf_pin(int fd, const char *path);

/* Attaches a device program to a cgroup, beside others (BPF_F_ALLOW_MULTI), for as long as the link
 * is pinned or open. */
int bpf_link_device(int program, int cgroup);

/* Puts a program in the place of the one that the link has, in one step. */
int bpf_link_exchange(int link, int program);

/* Ends what the link does, whoever else has it. -EINVAL: it is none. */
int bpf_link_end(int link);
