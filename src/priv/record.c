/* SPDX-License-Identifier: MIT */
/*
 * A record must never be seen without its lock: who found it so would take its supervisor for
 * dead, and start the job once more. So it is made under another name, locked, and linked to its
 * own, which also fails where the name is taken.
 *
 * A reader looks at the lock first and at the text afterwards: what a dead supervisor has written
 * is complete.
 */
#include "priv/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "priv/process.h"

#define LINE_SIZE   (PATH_MAX + 64)
#define RECORD_SIZE (2 * LINE_SIZE) /* one of the lines has a path */

void record_name(int64_t id, unsigned attempt, char dst[RECORD_NAME_SIZE])
{
	snprintf(dst, RECORD_NAME_SIZE, "%" PRId64 ".%u", id, attempt);
}

void record_clear(struct record *record)
{
	free(record->log);
	*record = (struct record){ 0 };
}

/* --- reading --- */

/* *s moves behind the blank that follows, or becomes NULL. */
static bool take_number(char **s, uint64_t max, uint64_t *ret)
{
	char *word = strsep(s, " ");

	return word && parse_uint(word, 0, max, ret) == 0;
}

static bool read_supervisor(struct record *record, char *rest)
{
	uint64_t pid, ticks;

	if (!take_number(&rest, INT_MAX, &pid) || !take_number(&rest, UINT64_MAX, &ticks) || rest)
		return false;
	record->pid = (pid_t)pid;
	record->start_ticks = ticks;
	return true;
}

static bool read_log(struct record *record, char *rest)
{
	uint64_t offset;

	if (record->log || !take_number(&rest, INT64_MAX, &offset) || !rest || *rest != '/')
		return false;
	record->log_offset = (int64_t)offset;
	record->log = strdup(rest);
	return record->log;
}

static bool read_running(struct record *record, char *rest)
{
	uint64_t pid;

	if (!take_number(&rest, INT_MAX, &pid) || rest)
		return false;
	record->running = true;
	record->command_pid = (pid_t)pid;
	return true;
}

static bool read_end(struct record *record, enum record_end end, char *rest, uint64_t max)
{
	uint64_t code;

	if (!take_number(&rest, max, &code) || rest)
		return false;
	record->end = end;
	record->code = (int)code;
	return true;
}

static bool read_sentence(struct record *record, const char *rest)
{
	text_copy(record->sentence, sizeof(record->sentence), rest ? rest : "");
	return true;
}

static bool read_line(struct record *record, char *line)
{
	const char *word = strsep(&line, " ");

	if (record->end != RECORD_NONE) /* which is the last line */
		return false;
	if (strcmp(word, "supervisor") == 0)
		return read_supervisor(record, line);
	if (strcmp(word, "log") == 0)
		return read_log(record, line);
	if (strcmp(word, "running") == 0)
		return read_running(record, line);
	if (strcmp(word, "memory") == 0)
		return read_sentence(record, line);
	if (strcmp(word, "exit") == 0)
		return read_end(record, RECORD_EXIT, line, 255);
	if (strcmp(word, "signal") == 0)
		return read_end(record, RECORD_SIGNAL, line, NSIG);
	if (strcmp(word, "failed") == 0) {
		record->end = RECORD_FAILED;
		return read_sentence(record, line);
	}
	return false;
}

static bool read_lines(struct record *record, char *text, size_t size)
{
	char *end;

	if (strlen(text) != size)
		return false;
	for (; (end = strchr(text, '\n')); text = end + 1) {
		*end = '\0';
		text_sanitize(text);
		if (!read_line(record, text))
			return false;
	}
	return true;
}

/* Security: a file that somebody else put there is none of ours, and must not hold us up. */
static int read_file(int fd, struct record *record, char *text, size_t size, struct error *err)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return error_errno(err, -errno, "record.stat", "cannot look at a record");
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return error_set(err, -EBADMSG, "record.foreign", "is no record of ours");
	record->alive = flock(fd, LOCK_SH | LOCK_NB) < 0;
	if (record->alive && errno != EWOULDBLOCK)
		return error_errno(err, -errno, "record.lock", "cannot look at its lock");
	n = pread(fd, text, size - 1, 0);
	if (n < 0)
		return error_errno(err, -errno, "record.read", "cannot read a record");
	if ((size_t)n == size - 1)
		return error_set(err, -EBADMSG, "record.size", "is too long for a record");
	text[n] = '\0';
	if (!read_lines(record, text, (size_t)n))
		return error_set(err, -EBADMSG, "record.line", "is no record");
	return 0;
}

int record_read(int directory, int64_t id, unsigned attempt, struct record *ret, struct error *err)
{
	_cleanup_(record_clear) struct record record = { 0 };
	_cleanup_(closep) int fd = -1;
	char name[RECORD_NAME_SIZE], text[RECORD_SIZE + 1];
	int r;

	record_name(id, attempt, name);
	fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return error_errno(err, -errno, "record.open", "cannot open the record %s", name);
	if (fd >= 0) {
		record.exists = true;
		r = read_file(fd, &record, text, sizeof(text), err);
		if (r < 0)
			return error_prefix(err, r, "record %s", name);
	}
	*ret = record;
	record.log = NULL;
	return 0;
}

/* --- writing --- */

int record_write(int fd, const char *fmt, ...)
{
	char line[LINE_SIZE];
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	text_vprint(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	text_sanitize(line);
	n = strlen(line);
	line[n++] = '\n';
	return write_all(fd, line, n);
}

/* A full disk must not eat how a job ended. Some file systems cannot promise that. */
static int reserve(int fd)
{
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, RECORD_SIZE) < 0 && errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

static int write_first(int fd)
{
	uint64_t ticks;
	int r = reserve(fd);

	if (r >= 0)
		r = process_start_ticks(getpid(), &ticks);
	if (r >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
		r = -errno;
	return r < 0 ? r : record_write(fd, "supervisor %d %" PRIu64, (int)getpid(), ticks);
}

/* A name of the same directory that is not taken for a record. */
static char *other_name(const char *path)
{
	const char *base = strrchr(path, '/');

	return base ? text_format("%.*s/.%s.%d", (int)(base - path), path, base + 1, (int)getpid())
		    : NULL;
}

int record_create(const char *path, struct error *err)
{
	_cleanup_(freep) char *other = other_name(path);
	_cleanup_(closep) int fd = -1;
	int r;

	if (!other)
		return error_set(err, -EINVAL, "record.path", "%s is no path of a record", path);
	unlink(other); /* of one that had our pid and was killed in here */
	fd = open(other, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, -errno, "record.create", "cannot make the record %s", path);
	r = write_first(fd);
	if (r >= 0 && link(other, path) < 0)
		r = -errno;
	unlink(other);
	if (r < 0)
		return error_errno(err, r, "record.create", "cannot make the record %s", path);
	return TAKE_FD(fd);
}
