/* SPDX-License-Identifier: MIT */
/*
 * Names can be chosen by anybody: those of cgroups below one's own, those of processes, those of
 * programs. So a run's processes are known by being in its cgroup, an ignored program by a file
 * that only root could have put there, and the user behind a subordinate uid by the two top levels
 * of the cgroup tree, which belong to systemd.
 */
#include "daemon/attribution.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "priv/cgroup.h"
#include "priv/container.h"
#include "priv/process.h"

#define SLICE_PREFIX "/user.slice/user-"
#define SLICE_SUFFIX ".slice/"

/* The user in whose slice a process is, or -1. */
static uid_t slice_owner(const char *cgroup_path)
{
	const char *number = cgroup_path + strlen(SLICE_PREFIX);
	size_t digits;
	char text[16];
	uint64_t uid;

	if (strncmp(cgroup_path, SLICE_PREFIX, strlen(SLICE_PREFIX)) != 0)
		return (uid_t)-1;
	digits = strspn(number, "0123456789");
	if (digits >= sizeof(text) ||
		strncmp(number + digits, SLICE_SUFFIX, strlen(SLICE_SUFFIX)) != 0)
		return (uid_t)-1;
	text_copy(text, digits + 1, number);
	return parse_uint(text, 0, (uid_t)-2, &uid) < 0 ? (uid_t)-1 : (uid_t)uid;
}

static bool is_listed(const char *list, const char *name)
{
	const char *cursor = list;
	char listed[CONFIG_NAME_SIZE];

	while (cursor && text_list_next(&cursor, listed, sizeof(listed)))
		if (strcmp(listed, name) == 0)
			return true;
	return false;
}

/* Below a cgroup of [guard] session-cgroups, where users may have made it. */
static bool is_in_session(const struct manager *m, const char *cgroup_path)
{
	const char *cursor = m->config->session_cgroups;
	_cleanup_(freep) char *mount = NULL;
	char name[512];

	if (cgroup_mount(&mount) < 0)
		return true;
	while (cursor && text_list_next(&cursor, name, sizeof(name))) {
		size_t skip = strncmp(name, mount, strlen(mount)) == 0 ? strlen(mount) : 0;
		const char *top = name + skip + strspn(name + skip, "/");
		size_t n = strlen(top);

		if (n > 0 && strncmp(cgroup_path + 1, top, n) == 0 &&
			(cgroup_path[1 + n] == '/' || cgroup_path[1 + n] == '\0'))
			return true;
	}
	return false;
}

static void fill_container(struct manager *m, struct gpu_process *p)
{
	struct container container;
	char path[PATH_MAX];
	uid_t owner;

	if (process_cgroup(p->pid, path, sizeof(path)) < 0)
		return;
	owner = slice_owner(path);
	if (owner != (uid_t)-1 && account_is_subordinate(&m->accounts, ACCOUNT_FILE, p->uid))
		p->uid = owner;
	if (!container_parse(path, &container))
		return;
	container_describe("", &container);
	snprintf(p->container, sizeof(p->container), "%s:%.47s", container.runtime, container.name);
	/* Security: the label is root's word, see container.h; a user's own cgroup is not. */
	if (container.lease && container.in_system && !is_in_session(m, path))
		p->container_lease = container.lease;
}

void attribution_refresh(const struct manager *m, struct gpu_process *p)
{
	char program[64];

	if (!p->command[0])
		process_name(p->pid, p->command, sizeof(p->command));
	p->ignored = process_program(p->pid, program, sizeof(program)) >= 0 &&
		     is_listed(m->config->foreign_ignore, program);
}

int attribution_fill(struct manager *m, struct gpu_process *p)
{
	int r = process_start_ticks(p->pid, &p->start_ticks);

	if (r >= 0)
		r = process_uid(p->pid, &p->uid);
	if (r < 0)
		return r;
	fill_container(m, p);
	attribution_refresh(m, p);
	return 0;
}

/* By what a process is there; the more it says, the higher. */
enum right {
	RIGHT_NONE,
	RIGHT_USER,   /* it is of the user who has the lease */
	RIGHT_MEMBER, /* it is of the run, job or container that has it */
};

static enum right right_of(const struct lease *holder, const struct gpu_process *p)
{
	if (p->container_lease == holder->id)
		return RIGHT_MEMBER;
	/* Security: not by the name of the cgroup: users can have one of any name below their own.
	 */
	if (holder->cgroup && !p->container[0])
		return cgroup_has(holder->cgroup, p->pid) ? RIGHT_MEMBER : RIGHT_NONE;
	return p->uid == holder->uid ? RIGHT_USER : RIGHT_NONE;
}

/* Of those who share a GPU, the one by whose lease it is there; NULL: none. */
static const struct lease *find_right(
	const struct manager *m, unsigned slot, const struct gpu_process *p, bool *ret_same_user)
{
	const struct lease *found = NULL;
	enum right best = RIGHT_NONE;

	*ret_same_user = false;
	for (const struct lease *holder = pool_holder(m->pool, slot); holder;
		holder = pool_next_holder(m->pool, slot, holder)) {
		enum right right = right_of(holder, p);

		*ret_same_user |= holder->uid == p->uid;
		if (right > best) {
			best = right;
			found = holder;
		}
	}
	return found;
}

static bool holds_any(const struct pool *pool, uid_t uid)
{
	for (size_t i = 0; i < pool->n_leases; i++)
		if (pool->leases[i]->uid == uid && lease_holds(pool->leases[i]))
			return true;
	return false;
}

void attribution_judge(const struct manager *m, unsigned slot, struct gpu_process *p)
{
	bool same_user;
	const struct lease *right = find_right(m, slot, p, &same_user);

	p->lease = 0;
	if (right) {
		p->standing = STANDING_LEASE;
		p->lease = right->id;
	} else if (p->ignored || (p->memory_mib != GPU_UNKNOWN &&
					 p->memory_mib < m->config->foreign_min_memory_mib)) {
		p->standing = STANDING_IGNORED;
	} else if (!pool_holder(m->pool, slot)) {
		p->standing = holds_any(m->pool, p->uid) ? STANDING_WRONG_GPU : STANDING_NO_LEASE;
	} else {
		p->standing = same_user ? STANDING_OUTSIDE : STANDING_ANOTHERS;
	}
}
