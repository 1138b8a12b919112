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
 * namespace: the real one). mknod(2) alone is not denied: what it makes is judged when it is
 * opened. Of a caller more than 16 cgroups deep, the 16 outer ones are asked.
 *
 * Linux 6.1 or newer, 64 bits, cgroup v2. Rights: CAP_BPF, CAP_NET_ADMIN, and CAP_SYS_ADMIN to
 * mount the bpf file system where systemd has not done so. Facts: kernel/bpf/cgroup.c,
 * bpf-helpers(7). Only what is attached with BPF_F_ALLOW_MULTI adds up, as links always are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define DEVFILTER_ENTRIES_MAX 32768 /* without doubles */

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
 * replaced without a gap, by calling devfilter_set() and then devfilter_attach(): the first fills,
 * the second exchanges; until then the old one is in force, with the entries that it had.
 * -EOPNOTSUPP, -EPERM: not on this kernel, or not with these rights (-EPERM also if somebody else
 * owns the directory or can write to it).
 */
int devfilter_open(const char *pin_directory, struct devfilter **ret, struct error *err);

/* Closes our descriptors; what is pinned stays in force. NULL is fine. */
struct devfilter *devfilter_free(struct devfilter *filter);

/*
 * Makes the map hold just these entries (in any order, doubles are fine). First go guards, then
 * rights; then come closed cgroups, rights, guards; last go closed cgroups. So who has an
 * entry before and after may open the device all the time, also while guards come and go. Only
 * differences cost a system call. For a new cgroup, call it before devfilter_attach(): what is
 * attached and finds no entries denies nobody.
 *
 * -E2BIG: more than DEVFILTER_ENTRIES_MAX; then rights were taken away, nothing was added, and what
 * was guarded or closed still is. After any other error the map may hold a part; the next call
 * looks what is there.
 */
int devfilter_set(struct devfilter *filter, const struct devfilter_entry *entries, size_t n,
	struct error *err);

/*
 * Attaches it to just these cgroups (absolute paths of directories), and checks those that were
 * attached before: a program that was exchanged or detached is put back. Returns how many it had
 * to attach or to repair. A path that does not exist is -ENOENT, after all others were done. After
 * another error, cgroups that are no longer named may still be attached. -EINVAL: neither this
 * program nor the one before us has filled the map.
 */
int devfilter_attach(
	struct devfilter *filter, const char *const *cgroups, size_t n, struct error *err);

/* Opens everything: detaches and unpins all. No pins are fine. */
int devfilter_remove(const char *pin_directory, struct error *err);

/* The id of a cgroup, as bpf_get_current_cgroup_id() has it. -ENOENT; -EOPNOTSUPP: a directory that
 * is none of cgroup v2. */
int devfilter_cgroup_id(const char *path, uint64_t *ret);
