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

static bool has_right(const struct lease *holder, const struct gpu_process *p)
{
	if (p->container_lease == holder->id)
		return true;
	/* Security: not by the name of the cgroup: users can have one of any name below their own.
	 */
	if (holder->kind == LEASE_RUN && holder->cgroup && !p->container[0])
		return cgroup_has(holder->cgroup, p->pid);
	return p->uid == holder->uid;
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
	const struct lease *holder = pool_holder(m->pool, slot);

	p->lease = 0;
	if (holder && has_right(holder, p)) {
		p->standing = STANDING_LEASE;
		p->lease = holder->id;
	} else if (p->ignored || (p->memory_mib != GPU_UNKNOWN &&
					 p->memory_mib < m->config->foreign_min_memory_mib)) {
		p->standing = STANDING_IGNORED;
	} else if (!holder) {
		p->standing = holds_any(m->pool, p->uid) ? STANDING_WRONG_GPU : STANDING_NO_LEASE;
	} else {
		p->standing = holder->uid == p->uid ? STANDING_OUTSIDE : STANDING_ANOTHERS;
	}
}
