/* SPDX-License-Identifier: MIT */
/* Programs of the site. Nothing is waited for by time: what a program wrote at once is read at
 * once, and its end ends a reading. */
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "gpu/child.h"
#include "tree.h"

#define GPU_LINE(uuid)                                                                       \
	"{\"gpus\":[{\"uuid\":\"" uuid "\",\"model\":\"m\",\"pci\":\"\",\"vendor\":\"amd\"," \
	"\"index\":0,\"minor\":null,\"memory_mib\":null,\"memory_used_mib\":null,"           \
	"\"utilization\":null,\"temperature_c\":null,\"power_w\":null,\"links\":["           \
	"\"internal\"],\"processes\":null}]}"

struct program {
	char directory[64], path[128];
	struct backend_options options;
	void *context;
	struct sample *sample;
	struct error err;
};

static int start(struct program *program, const char *script)
{
	*program = (struct program){ .sample = sample_new() };
	tree_make(program->directory);
	snprintf(program->path, sizeof(program->path), "%s/program", program->directory);
	tree_put(program->directory, "program", script);
	CHECK_INT(chmod(program->path, 0755), 0);
	program->options.argument = program->path;
	return backend_exec.open(&program->options, &program->context, &program->err);
}

static int next(struct program *program)
{
	sample_clear(program->sample);
	program->err = (struct error){ 0 };
	return backend_exec.read(program->context, program->sample, &program->err);
}

static void finish(struct program *program)
{
	backend_exec.close(program->context);
	sample_free(program->sample);
}

static void lines(void)
{
	struct program program;

	CHECK_INT(start(&program, "#!/bin/sh\necho '" GPU_LINE("A") "'\nread -r line\nexit\n"), 0);
	CHECK_INT(next(&program), 0);
	CHECK_INT(program.sample->n_gpus, 1);
	CHECK_STR(program.sample->gpus[0].uuid, "A");
	CHECK(program.sample->gpus[0].processes_unknown);
	/* its standard input is empty, so that it ends */
	CHECK_INT(next(&program), -EPIPE);
	CHECK_STR(program.err.id, "exec.ended");
	finish(&program);
}

/* Of what was written at once, the newest counts. */
static void newest_line(void)
{
	struct program program;

	CHECK_INT(start(&program, "#!/bin/sh\nprintf '%s\\n' '" GPU_LINE("A") "' '" GPU_LINE(
					  "B") "' '" GPU_LINE("C") "'\nsleep 60\n"),
		0);
	CHECK_INT(next(&program), 0);
	CHECK_STR(program.sample->gpus[0].uuid, "C");
	finish(&program);
}

static void a_line_in_pieces(void)
{
	struct program program;

	CHECK_INT(start(&program, "#!/bin/sh\nprintf '{\"err'\nprintf 'or\":\"no'\nprintf ' "
				  "luck\"}\\n{\"err'\nexec sleep 60\n"),
		0);
	CHECK_INT(next(&program), 0);
	CHECK_INT(program.sample->n_gpus, 0);
	CHECK_STR(program.sample->error, "no luck");
	finish(&program);
}

static void lies(void)
{
	static const char *const scripts[] = {
		"#!/bin/sh\necho hello\n",
		"#!/bin/sh\necho\n",
		"#!/bin/sh\necho '{\"gpus\":[],\"error\":\"x\"}'\n",
		"#!/bin/sh\nprintf '\\000\\377\\n'\n",
	};

	for (size_t i = 0; i < ELEMENTSOF(scripts); i++) {
		struct program program;

		CHECK_INT(start(&program, scripts[i]), 0);
		CHECK_INT(next(&program), -EINVAL);
		CHECK_STR(program.err.id, "sensor.bad-line");
		CHECK(strstr(program.err.text, program.path) != NULL);
		finish(&program);
	}
}

static void a_line_without_end(void)
{
	struct program program;

	CHECK_INT(start(&program, "#!/bin/sh\nexec tr '\\0' x </dev/zero\n"), 0);
	CHECK_INT(next(&program), -EFBIG);
	CHECK_STR(program.err.id, "exec.line");
	finish(&program);
}

static void not_a_program(void)
{
	struct program program;

	CHECK_INT(start(&program, "#!/nonexistent\n"), -ENOENT);
	CHECK_STR(program.err.id, "child.exec");
	CHECK(strstr(program.err.text, program.path) != NULL);
	finish(&program);
}

/* What the program has started ends with it: it holds a pipe whose end is awaited. */
static void ends_with_us(void)
{
	const char *const argv[] = { "/bin/sh", "-c", "sleep 60 >&2 & echo started; wait", NULL };
	struct child child = { 0 };
	char text[16];
	int fds[2], status;

	CHECK_INT(pipe2(fds, 0), 0);
	CHECK_INT(child_start(&child, argv, NULL), 0);
	close(fds[1]);
	CHECK_INT(child_read(&child, text, sizeof(text), clock_monotonic_ms() + 60000), 8);
	/* nothing more comes, and that is known without waiting */
	CHECK_INT(child_read(&child, text, sizeof(text), 0), -ETIMEDOUT);
	status = child_stop(&child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_INT(read(fds[0], text, 1), 0);
	close(fds[0]);
	CHECK_INT(child_stop(&child), -1);
}

int main(void)
{
	alarm(60);
	TEST(lines);
	TEST(newest_line);
	TEST(a_line_in_pieces);
	TEST(lies);
	TEST(a_line_without_end);
	TEST(not_a_program);
	TEST(ends_with_us);
	return tree_done();
}
