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

/* Reads the text of that file; what is missing or is no number has its default. */
void nvreg_parse(const char *text, struct nvreg *ret);

/*
 * Do ACLs hold, on nodes that are root's, u::rw g::--- m::rw o::---? That is: after nodes were put
 * back, who is in the ACL still gets in and nobody else does; and a node that was made anew,
 * without an ACL, is for root only until it gets one. If not, *ret_problem is a sentence and
 * *ret_fix the line that mends it; both are constants, or NULL if all is well.
 */
bool nvreg_acl_holds(const struct nvreg *nvreg, const char **ret_problem, const char **ret_fix);
