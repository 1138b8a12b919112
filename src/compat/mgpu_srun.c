/* SPDX-License-Identifier: MIT */
/*
 * mgpu_srun hands a job in, and stays: what the job prints is read from its log until it has ended.
 * That does a child, so that Ctrl-C can be answered in any state it is in; who presses it ends the
 * job. Whoever ends mgpu_srun in another way, or loses its terminal, leaves the job alone.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/text.h"
#include "cli/public.h"
#include "compat/mgpu_options.h"
#include "config/config.h"

#define NAME        "mgpu_srun"
#define EXIT_SIGNAL 128

struct session {
	struct cli cli;
	int64_t lease;
	char id[MGPU_ID_SIZE];
};

static int say_usage(FILE *out, int status)
{
	fputs(MGPU_USAGE "\n", out);
	return status;
}

static void say_notes(const struct strings *notes)
{
	for (size_t i = 0; i < notes->n; i++)
		mgpu_say(NAME, "%s", notes->items[i]);
}

/* --- what it prints --- */

static const char *host_name(void)
{
	static char name[256];

	return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

/* [mgpu] foreground. Who may not read the settings has the default. */
static bool stays_by_default(void)
{
	_cleanup_(config_freep) struct config *config = NULL;
	const char *path = getenv("DIBS_CONFIG");
	struct error err = { 0 };
	int r = config_load(path ? path : CONFIG_PATH, &config, &err);

	if (r < 0 && r != -EACCES)
		mgpu_say(NAME, "%s", err.text);
	return r < 0 || config->mgpu_foreground;
}

static bool stays(const struct mgpu_options *given)
{
	if (given->values[MGPU_BACKGROUND])
		return false;
	return given->values[MGPU_INTERACTIVE] || stays_by_default();
}

/* The first versions had --gpus and no priorities. */
static void print_submitted(
	const struct session *s, const struct mgpu_options *given, const struct mgpu_job *job)
{
	printf("Job submitted. ID: %s", s->id);
	if (!given->values[MGPU_GPUS] || given->values[MGPU_PRIORITY])
		printf(" (priority=%lld)", (long long)job->priority);
	printf("\n");
}

/* --- the child --- */

static _Noreturn void follow(struct session *s, const sigset_t *before)
{
	const struct log_sink out = { .fd = STDOUT_FILENO };
	int code;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	sigprocmask(SIG_SETMASK, before, NULL);
	code = mgpu_follow(&s->cli, s->lease, &out);
	if (code < 0)
		_exit(EXIT_FAULT);
	printf("\nJob %s completed with exit code %d\n", s->id, code);
	fflush(stdout);
	_exit(code);
}

/* --- we --- */

static int cancel(struct session *s)
{
	struct error err = { 0 };

	printf("\nUser interrupted. Canceling job...\n");
	fflush(stdout);
	if (mgpu_end(&s->cli, s->lease, &err) == EXIT_OK) {
		printf("Job %s canceled successfully.\n", s->id);
	} else {
		printf("Failed to cancel job %s\n", s->id);
		mgpu_say(NAME, "%s", err.text);
	}
	return EXIT_SIGNAL + SIGINT;
}

static int end_of(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAULT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL + WTERMSIG(status);
}

/* signals are blocked: those of the child, and that of Ctrl-C unless it was ignored. */
static int stay(struct session *s, const sigset_t *signals, const sigset_t *before)
{
	pid_t child;

	puts("Waiting for job to start...");
	fflush(stdout);
	child = fork();
	if (child < 0) {
		mgpu_say(NAME, "cannot start a process: %m; 'dibs logs -f %s' shows its output",
			s->id);
		return EXIT_FAULT;
	}
	if (child == 0)
		follow(s, before);
	for (;;) {
		int number = sigwaitinfo(signals, NULL);

		if (number == SIGCHLD)
			return end_of(child);
		if (number != SIGINT)
			continue;
		kill(child, SIGKILL);
		end_of(child);
		return cancel(s);
	}
}

static void block(sigset_t *ret_signals, sigset_t *ret_before)
{
	/* Ctrl-Z is no end. */
	const struct sigaction child = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP };
	struct sigaction action;

	sigaction(SIGCHLD, &child, NULL);
	sigemptyset(ret_signals);
	sigaddset(ret_signals, SIGCHLD);
	if (sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
		sigaddset(ret_signals, SIGINT);
	sigprocmask(SIG_BLOCK, ret_signals, ret_before);
}

static int submit(const struct mgpu_options *given, const struct mgpu_job *job)
{
	_cleanup_(json_decrefp) json_t *lease = NULL;
	_cleanup_(strings_clear) struct strings notes = { 0 };
	struct session s = { 0 };
	struct error err = { 0 };
	sigset_t signals, before;

	block(&signals, &before);
	if (mgpu_submit(&s.cli, job, &lease, &notes, &err) != EXIT_OK) {
		text_sanitize(err.text);
		printf("Submit failed: %s (ID: )\n", err.text);
		return EXIT_FAULT;
	}
	s.lease = wire_int(lease, "id", 0);
	mgpu_id(s.id, s.lease);
	print_submitted(&s, given, job);
	fflush(stdout);
	say_notes(&notes);
	if (stays(given))
		return stay(&s, &signals, &before);
	puts("Job queued. Use mgpu_queue to check status.");
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAULT;
}

int mgpu_srun(int argc, char **argv)
{
	_cleanup_(strings_clear) struct strings notes = { 0 };
	struct mgpu_options given;
	struct error err = { 0 };
	struct mgpu_job job;

	if (mgpu_options_parse(argv, &given, &err) < 0) {
		mgpu_say(NAME, "%s", err.text);
		return say_usage(stdout, EXIT_FAULT);
	}
	if (given.values[MGPU_HELP])
		return say_usage(stdout, EXIT_OK);
	if (mgpu_options_read(&given, host_name(), &job, &notes, &err) < 0) {
		mgpu_say(NAME, "%s", err.text);
		return say_usage(stdout, EXIT_FAULT);
	}
	mgpu_say_unused(NAME);
	say_notes(&notes);
	return submit(&given, &job);
}
