/* SPDX-License-Identifier: MIT */
/*
 * A program of the site that knows its GPUs: it writes the sensor's lines (gpu/sample.h) to its
 * standard output, at its own pace. Each is decoded as strictly as if it came from anywhere, and
 * told on; one that is wrong ends the program, which is started again later.
 *
 * A reading is the newest line. If none came since the last reading it is waited for, but not so
 * long that the daemon takes the sensor itself for dead.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "gpu/backend.h"
#include "gpu/child.h"

#define DEADLINE_MS 8000 /* less than the default of [sensor] deadline */

struct program {
	const char *path; /* borrowed */
	struct child child;
	char *line; /* owned; what was read of the line that is being read */
	size_t size, allocated;
};

/* Room for more of the line. */
static int make_room(struct program *program, struct error *err)
{
	size_t larger = MAX(program->allocated * 2, (size_t)16384);
	char *line;

	if (program->size < program->allocated)
		return 0;
	if (larger > SAMPLE_LINE_MAX)
		return error_set(err, -EFBIG, "exec.line", "%s wrote a line of more than %zu bytes",
			program->path, program->size);
	line = realloc(program->line, larger);
	if (!line)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	program->line = line;
	program->allocated = larger;
	return 0;
}

/* Reads until the deadline, but only what is there when have_line. Returns 1 when something was
 * read, 0 when nothing is there. */
static int read_more(struct program *program, bool have_line, int64_t deadline, struct error *err)
{
	ssize_t n;
	int r;

	if (have_line && clock_monotonic_ms() >= deadline)
		return 0;
	r = make_room(program, err);
	if (r < 0)
		return r;
	n = child_read(&program->child, program->line + program->size,
		program->allocated - program->size, have_line ? 0 : deadline);
	if (n > 0) {
		program->size += (size_t)n;
		return 1;
	}
	if (have_line)
		return 0;
	if (n == -ETIMEDOUT)
		return error_set(err, -ETIMEDOUT, "exec.silent",
			"%s has written no line for %d seconds", program->path, DEADLINE_MS / 1000);
	return n < 0 ? error_errno(err, (int)n, "exec.read", "cannot read from %s", program->path)
		     : error_set(err, -EPIPE, "exec.ended", "%s has ended", program->path);
}

/* The end of the newest line, whose predecessors are dropped; NULL if there is no whole line. */
static char *newest_end(struct program *program)
{
	char *end = program->size ? memrchr(program->line, '\n', program->size) : NULL;
	char *before = end ? memrchr(program->line, '\n', (size_t)(end - program->line)) : NULL;
	size_t dropped = before ? (size_t)(before + 1 - program->line) : 0;

	program->size -= dropped;
	if (dropped)
		memmove(program->line, program->line + dropped, program->size);
	return end ? end - dropped : NULL;
}

static int exec_read(void *context, struct sample *ret, struct error *err)
{
	struct program *program = context;
	int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
	size_t size;
	char *end;
	int r;

	do {
		end = newest_end(program);
		r = read_more(program, end != NULL, deadline, err);
	} while (r > 0);
	if (r < 0)
		return r;
	size = (size_t)(end - program->line);
	r = sample_decode(program->line, size, ret, err);
	program->size -= size + 1;
	memmove(program->line, end + 1, program->size);
	return r < 0 ? error_prefix(err, r, "%s", program->path) : 0;
}

static void exec_close(void *context)
{
	struct program *program = context;

	if (!program)
		return;
	child_stop(&program->child);
	free(program->line);
	free(program);
}

static int exec_open(const struct backend_options *options, void **ret_context, struct error *err)
{
	const char *const argv[] = { options->argument, NULL };
	struct program *program = calloc(1, sizeof(*program));
	int r;

	if (!program)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	program->path = options->argument;
	r = child_start(&program->child, argv, err);
	if (r < 0) {
		exec_close(program);
		return r;
	}
	*ret_context = program;
	return 0;
}

const struct backend backend_exec = {
	.name = "exec",
	.open = exec_open,
	.read = exec_read,
	.close = exec_close,
};
