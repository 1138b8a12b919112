/* SPDX-License-Identifier: MIT */
/*
 * Which processes may open which character devices, decided by the kernel at open(): one
 * BPF_PROG_TYPE_CGROUP_DEVICE program over whole trees of cgroups, and one map that it asks. A
 * grant or a revocation is one update of the map. Program links and map are pinned: they go on
 * while no daemon runs, and the next one finds them.
 *
 * Devices that are not in the map are allowed to everybody. For one that is, the answer is that of
 * the innermost cgroup of the caller that has one: an entry for that device allows, a closed cgroup
 * denies (DEVFILTER_CLOSED: everybody but root; DEVFILTER_CLOSED_ROOT: root too). If no cgroup has
 * an answer, root is allowed, and others need an entry for their uid (of the initial user
 * namespace). mknod(2) alone is not denied: what it makes is judged when it is opened.
 *
 * Facts: kernel/bpf/cgroup.c, bpf-helpers(7). Only what is attached with BPF_F_ALLOW_MULTI adds up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct devfilter;

enum devfilter_kind {
	DEVFILTER_GUARDED, /* major:minor is guarded at all; who is 0 */
	DEVFILTER_UID,     /* who is a uid: may open major:minor */
	DEVFILTER_CGROUP,  /* who is the id of a cgroup: it and those below may open major:minor */
	DEVFILTER_CLOSED,  /* who is the id of a cgroup; major and minor are 0 */
	DEVFILTER_CLOSED_ROOT, /* the same */
};

struct devfilter_entry {
	enum devfilter_kind kind;
	uint64_t who;
	uint32_t major, minor;
};

/*
 * Takes up what is pinned in pin_directory (made with mode 0700 on a bpf file system, which is
 * mounted at /sys/fs/bpf if none is), or starts empty. What an older version of dibs left there is
 * replaced without a gap. -EOPNOTSUPP, -EPERM: not on this kernel, or not with these rights.
 */
int devfilter_open(const char *pin_directory, struct devfilter **ret, struct error *err);

/* Closes our descriptors; what is pinned stays in force. NULL is fine. */
struct devfilter *devfilter_free(struct devfilter *filter);

/*
 * Makes the map hold just these entries (in any order, doubles are fine): first all that has to go,
 * then all that has to come. Only differences cost a system call.
 * -E2BIG: more than the map holds; then nothing was added.
 */
int devfilter_set(struct devfilter *filter, const struct devfilter_entry *entries, size_t n,
	struct error *err);

/* Attaches it to just these cgroups (absolute paths of directories), and checks those that were
 * attached before: a program that was exchanged or detached is put back. Returns how many it had
 * to attach or to repair. A path that does not exist is -ENOENT, after all others were done. */
int devfilter_attach(
	struct devfilter *filter, const char *const *cgroups, size_t n, struct error *err);

/* Opens everything: detaches and unpins all. No pins are fine. */
int devfilter_remove(const char *pin_directory, struct error *err);

/* The id of a cgroup, as bpf_get_current_cgroup_id() has it. -ENOENT. */
int devfilter_cgroup_id(const char *path, uint64_t *ret);
