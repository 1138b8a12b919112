/* SPDX-License-Identifier: MIT */
/*
 * What the gate itself costs, without a daemon, each sample in nanoseconds:
 *
 *	bench-gate filter PINS ROUNDS    two lines: grants and revocations by a device filter that
 *	                                 is pinned in PINS for this, for 8 GPUs that others have
 *	bench-gate acl NODE ROUNDS       the same by the ACL of a node
 *	bench-gate open NODE ROUNDS      one line: open and close, the mean of many
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "measure.h"
#include "priv/acl.h"
#include "priv/devfilter.h"

#define ROUNDS_MAX 100000
#define OPENS      1000 /* a sample */
#define GPUS       8
#define MAJOR_GPU  120
#define UID        60000
#define CGROUP     (UINT64_C(1) << 40) /* no cgroup has it */

/* How much of the filter a lease is: a uid, the slice of the user, the cgroup of a run. */
#define RIGHTS 3

static void need(int r, const struct error *err)
{
	errno = 0;
	if (r < 0)
		fail("%s", err->text);
}

/* Entries of all GPUs; the rights of the last lease are the last RIGHTS of them. */
static size_t fill(struct devfilter_entry *entries)
{
	size_t n = 0;

	for (unsigned i = 0; i < GPUS; i++) {
		entries[n++] = (struct devfilter_entry){ DEVFILTER_GUARDED, 0, MAJOR_GPU, i };
		entries[n++] =
			(struct devfilter_entry){ DEVFILTER_CLOSED, CGROUP + GPUS + i, 0, 0 };
	}
	for (unsigned i = 0; i < GPUS; i++) {
		entries[n++] = (struct devfilter_entry){ DEVFILTER_UID, UID + i, MAJOR_GPU, i };
		entries[n++] =
			(struct devfilter_entry){ DEVFILTER_CGROUP, CGROUP + i, MAJOR_GPU, i };
		entries[n++] = (struct devfilter_entry){ DEVFILTER_CGROUP, CGROUP + GPUS + i,
			MAJOR_GPU, i };
	}
	return n;
}

static void measure_filter(const char *pins, int64_t *grants, int64_t *revocations, unsigned rounds)
{
	struct devfilter_entry entries[GPUS * (2 + RIGHTS)];
	struct devfilter *filter;
	struct error err = { 0 };
	size_t n = fill(entries);
	int r = devfilter_open(pins, &filter, &err);

	need(r, &err);
	for (unsigned i = 0; i < rounds && r >= 0; i++) {
		int64_t begin = now_ns(), middle;

		r = devfilter_set(filter, entries, n - RIGHTS, &err);
		middle = now_ns();
		if (r >= 0)
			r = devfilter_set(filter, entries, n, &err);
		grants[i] = now_ns() - middle;
		revocations[i] = middle - begin;
	}
	devfilter_free(filter);
	devfilter_remove(pins, &(struct error){ 0 });
	need(r, &err);
}

static void measure_acl(const char *node, int64_t *grants, int64_t *revocations, unsigned rounds)
{
	const uid_t uid = UID;
	struct error err = { 0 };
	struct stat st;

	if (stat(node, &st) < 0)
		fail("%s", node);
	for (unsigned i = 0; i < rounds; i++) {
		int64_t begin = now_ns();

		need(acl_set(node, major(st.st_rdev), minor(st.st_rdev), &uid, 1, &err), &err);
		grants[i] = now_ns() - begin;
		begin = now_ns();
		need(acl_set(node, major(st.st_rdev), minor(st.st_rdev), NULL, 0, &err), &err);
		revocations[i] = now_ns() - begin;
	}
}

static void measure_open(const char *node, int64_t *ns, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		int64_t begin = now_ns();

		for (unsigned j = 0; j < OPENS; j++) {
			int fd = open(node, O_RDWR | O_CLOEXEC);

			if (fd < 0)
				fail("%s", node);
			close(fd);
		}
		ns[i] = (now_ns() - begin) / OPENS;
	}
}

int main(int argc, char **argv)
{
	static int64_t first[ROUNDS_MAX], second[ROUNDS_MAX];
	unsigned rounds;

	if (argc != 4)
		fail("filter PINS ROUNDS | acl NODE ROUNDS | open NODE ROUNDS");
	rounds = number(argv[3], ROUNDS_MAX);
	if (strcmp(argv[1], "open") == 0) {
		measure_open(argv[2], first, rounds);
		print_samples(first, rounds);
		return 0;
	}
	if (strcmp(argv[1], "filter") == 0)
		measure_filter(argv[2], first, second, rounds);
	else
		measure_acl(argv[2], first, second, rounds);
	print_samples(first, rounds);
	print_samples(second, rounds);
	return 0;
}
