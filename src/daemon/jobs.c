/* SPDX-License-Identifier: MIT */
#include "daemon/jobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/program.h"
#include "base/text.h"
#include "daemon/server.h"
#include "dibs-config.h"

struct jobs {
	int directory; /* of the records */
	char *path;    /* owned; its name */
	char *socket;  /* owned; where dibs-exec may listen */
	char *program; /* owned */
	bool confined; /* what we start would be as confined as we are */
};

int jobs_read_record(
	const struct manager *m, const struct lease *lease, struct record *ret, struct error *err)
{
	return record_read(m->jobs->directory, lease->id, lease->job->restarts, ret, err);
}

bool jobs_has_record(const struct manager *m, const struct lease *lease)
{
	char name[RECORD_NAME_SIZE];

	record_name(lease->id, lease->job->restarts, name);
	return faccessat(m->jobs->directory, name, F_OK, 0) == 0;
}

char *jobs_record_path(const struct manager *m, const struct lease *lease)
{
	char name[RECORD_NAME_SIZE];

	record_name(lease->id, lease->job->restarts, name);
	return text_format("%s/%s", m->jobs->path, name);
}

void jobs_delete_record(const struct manager *m, const struct lease *lease, unsigned attempt)
{
	char name[RECORD_NAME_SIZE];

	record_name(lease->id, attempt, name);
	if (unlinkat(m->jobs->directory, name, 0) < 0 && errno != ENOENT)
		log_warning("cannot delete %s/%s: %m", m->jobs->path, name);
}

/* "42.0": is it the record of an attempt that goes on, or may have ended without us? */
static bool is_of_use(const struct manager *m, const char *name)
{
	char copy[RECORD_NAME_SIZE], *attempt = copy;
	const struct lease *lease;
	uint64_t id, n;

	if (strlen(name) >= sizeof(copy))
		return false;
	text_copy(copy, sizeof(copy), name);
	if (parse_uint(strsep(&attempt, "."), 1, INT64_MAX, &id) < 0 || !attempt ||
		parse_uint(attempt, 0, UINT_MAX, &n) < 0)
		return false;
	lease = pool_find(m->pool, (int64_t)id);
	return lease && lease->job && lease->state != LEASE_ENDED && lease->job->restarts == n;
}

void jobs_sweep_records(struct manager *m)
{
	_cleanup_(closedirp) DIR *dir = opendir(m->jobs->path);
	struct dirent *entry;

	/* Also one that is only being made, or never will be: its supervisor gives up, and the next
	 * one is ours. */
	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			!is_of_use(m, entry->d_name))
			unlinkat(m->jobs->directory, entry->d_name, 0);
}

/* The loop has reaped it; nothing else holds the source. */
static int on_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	return sd_event_source_set_floating(source, false);
}

int jobs_hand_over(struct manager *m, const struct fields_writer *order, struct error *err)
{
	pid_t child = 0;
	int channel;

	channel = supervisor_start(m->root ? m->jobs->socket : NULL,
		m->jobs->confined ? NULL : m->jobs->program, order->text, order->size, &child, err);
	if (child > 0) /* that the loop reaps it is all that is wanted */
		sd_event_add_child(m->event, NULL, child, WEXITED, on_child, NULL);
	return channel;
}

struct verdict jobs_can_start(const struct manager *m)
{
	if (!m->jobs->confined || access(m->jobs->socket, F_OK) == 0)
		return verdict_ok();
	return verdict_make(VERDICT_REFUSED, "jobs.no-supervisor",
		"no job can start, as dibs-exec does not listen at %s; ask an administrator to run "
		"'systemctl enable --now dibs-exec.socket'",
		m->jobs->socket);
}

int jobs_new(struct manager *m, struct jobs **ret, struct error *err)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));
	const char *socket = m->server->path, *slash = strrchr(socket, '/');
	int directory = slash ? (int)(slash - socket) + 1 : 0;

	if (!jobs)
		return -ENOMEM;
	*ret = jobs;
	jobs->directory = -1;
	jobs->path = text_format("%s/jobs", m->state);
	jobs->socket = text_format("%.*sexec", directory, socket);
	jobs->program = program_path("../exec/dibs-exec", DIBS_LIBEXECDIR "/dibs-exec");
	jobs->confined = m->root && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	if (!jobs->path || !jobs->socket || !jobs->program)
		return -ENOMEM;
	if (mkdir(jobs->path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, -errno, "jobs.directory", "cannot make %s", jobs->path);
	jobs->directory = open(jobs->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (jobs->directory < 0)
		return error_errno(err, -errno, "jobs.directory", "cannot open %s", jobs->path);
	return 0;
}

struct jobs *jobs_free(struct jobs *jobs)
{
	if (!jobs)
		return NULL;
	closep(&jobs->directory);
	free(jobs->path);
	free(jobs->socket);
	free(jobs->program);
	free(jobs);
	return NULL;
}
