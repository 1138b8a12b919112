/* SPDX-License-Identifier: MIT */
/*
 * What the NVIDIA driver says about the permissions of its device nodes
 * (/proc/driver/nvidia/params) and what follows for ACLs: nvidia-modprobe and every root process
 * that starts CUDA put nodes back to these (nvidia-modprobe-utils.c, nvidia_mknod and
 * get_file_state). Pure: text in, judgement out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct nvreg {
	unsigned mode, uid, gid; /* DeviceFileMode and so on; defaults 0666, 0, 0 */
	bool modify;             /* ModifyDeviceFiles; default true */
};

/* Reads the text of that file; what is missing has its default. */
void nvreg_parse(const char *text, struct nvreg *ret);

/* Do ACLs on nodes that are u::rw m::rw hold? If not, *ret_problem is a sentence and *ret_fix the
 * line that mends it; both are constants. */
bool nvreg_acl_holds(const struct nvreg *nvreg, const char **ret_problem, const char **ret_fix);
