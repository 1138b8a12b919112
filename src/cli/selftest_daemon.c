/* SPDX-License-Identifier: MIT */
/*
 * It says itself when it is ready, as to systemd: sd_notify(3). What it logs goes to a file, whose
 * last line is the reason if it does not start.
 */
#include "cli/selftest_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/program.h"
#include "base/text.h"
#include "cli/gpu.h"
#include "cli/public.h"
#include "dibs-config.h"
#include "proto/client.h"

#define READY_MS 20000

static int write_config(const struct own_daemon *daemon, const char *path)
{
	_cleanup_(closep) int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	_cleanup_(freep) char *text = text_format("[sensor]\nexec = %s\n"
						  "[lease]\nkill-grace = 1s\n"
						  "[guard]\nmode = deny\nmethod = %s\n"
						  "session-cgroups = %s\ndevice-majors = %s\n",
		daemon->sensor ? daemon->sensor : "", daemon->method, daemon->sessions,
		daemon->sensor ? "1" : "");

	if (fd < 0 || !text)
		return fd < 0 ? -errno : -ENOMEM;
	return write_all(fd, text, strlen(text));
}

static void __attribute__((noreturn)) become_dibsd(
	const struct own_daemon *daemon, const char *program, const char *config, const char *log)
{
	_cleanup_(freep) char *state = text_format("%s/state", daemon->directory);
	_cleanup_(freep) char *notify = text_format("NOTIFY_SOCKET=%s/notify", daemon->directory);
	const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", notify, NULL };
	const char *argv[12] = { program, "--config", config, "--socket", daemon->socket, "--state",
		state };
	int n = 7, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	sigset_t none;

	if (!daemon->sensor) {
		argv[n++] = "--sim";
		argv[n++] = "2xTest-1G";
	}
	if (*daemon->runs) {
		argv[n++] = "--cgroup-root";
		argv[n++] = daemon->runs;
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (state && notify && dup2(null, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
		dup2(out, STDERR_FILENO) >= 0 && close_range(STDERR_FILENO + 1, ~0u, 0) == 0 &&
		prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
		execve(program, (char *const *)argv, (char *const *)env);
	dprintf(STDERR_FILENO, "cannot execute %s: %m\n", program);
	_exit(127);
}

static int listen_for_ready(struct own_daemon *daemon)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", daemon->directory);
	unlink(address.sun_path);
	daemon->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (daemon->notify < 0 ||
		bind(daemon->notify, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return 0;
}

static bool await_ready(struct own_daemon *daemon)
{
	struct pollfd fds[] = { { .fd = daemon->notify, .events = POLLIN },
		{ .fd = daemon->pidfd, .events = POLLIN } };
	char text[256];

	while (poll(fds, ELEMENTSOF(fds), READY_MS) > 0 && !fds[1].revents) {
		ssize_t n = recv(daemon->notify, text, sizeof(text) - 1, 0);

		text[MAX(n, 0)] = '\0';
		if (strncmp(text, "READY=1", 7) == 0)
			return true;
	}
	return false;
}

/* The last line, without the level before it that journald understands. */
static char *last_line(char *text)
{
	char *line = text, *end = text + strlen(text);

	while (end > text && end[-1] == '\n')
		*--end = '\0';
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	if (line[0] == '<' && line[1] && line[2] == '>')
		line += 3;
	return line;
}

static int spawn_dibsd(struct own_daemon *daemon, const char *log, struct error *err)
{
	_cleanup_(freep) char *config = text_format("%s/dibs.conf", daemon->directory);
	_cleanup_(freep) char *program = program_path("../daemon/dibsd", DIBS_SBINDIR "/dibsd");
	int r = config && program ? write_config(daemon, config) : -ENOMEM;

	snprintf(daemon->socket, sizeof(daemon->socket), "%s/run/socket", daemon->directory);
	closep(&daemon->notify);
	if (r >= 0)
		r = listen_for_ready(daemon);
	if (r >= 0) {
		daemon->pid = fork();
		if (daemon->pid == 0)
			become_dibsd(daemon, program, config, log);
		daemon->pidfd = daemon->pid > 0 ? pidfd_open(daemon->pid, 0) : -1;
		r = daemon->pidfd < 0 ? -errno : 0;
	}
	return r < 0 ? error_errno(err, r, "selftest.daemon", "cannot start dibsd") : 0;
}

int own_daemon_status(const struct own_daemon *daemon, json_t **ret, struct error *err)
{
	return client_call(daemon->socket, "org.dibs.GetStatus", NULL, ret, err) == EXIT_OK
		       ? 0
		       : -EREMOTEIO;
}

static int learn_gpu(struct own_daemon *daemon, struct error *err)
{
	_cleanup_(json_decrefp) json_t *status = NULL;
	unsigned major;
	json_t *gpu;
	int r = own_daemon_status(daemon, &status, err);

	if (r < 0)
		return r;
	gpu = json_array_get(json_object_get(status, "gpus"), 0);
	text_copy(daemon->gpu, sizeof(daemon->gpu), wire_text(gpu, "uuid"));
	if (!gpu_parse_node(
		    json_array_get(json_object_get(gpu, "nodes"), 0), &major, &daemon->minor))
		return error_set(err, -ENODEV, "selftest.node",
			"the dibsd that was started knows no device node of its GPU");
	return 0;
}

static int did_not_start(const char *log, struct error *err)
{
	char text[16384] = "", *line;

	read_file_at(AT_FDCWD, log, text, sizeof(text));
	line = last_line(text);
	text_sanitize(line);
	return error_set(err, -EIO, "selftest.daemon", "dibsd does not start: %s", line);
}

int own_daemon_start(struct own_daemon *daemon, struct error *err)
{
	_cleanup_(freep) char *log = text_format("%s/log", daemon->directory);
	int r = log ? spawn_dibsd(daemon, log, err) : -ENOMEM;

	if (r >= 0 && await_ready(daemon))
		r = learn_gpu(daemon, err);
	else if (r >= 0)
		r = did_not_start(log, err);
	if (r < 0)
		own_daemon_kill(daemon);
	return r;
}

void own_daemon_kill(struct own_daemon *daemon)
{
	if (daemon->pid > 0) {
		kill(daemon->pid, SIGKILL); /* a child that was not waited for */
		waitpid(daemon->pid, NULL, 0);
	}
	daemon->pid = 0;
	closep(&daemon->pidfd);
	daemon->pidfd = -1;
}

void own_daemon_release(struct own_daemon *daemon)
{
	own_daemon_kill(daemon);
	closep(&daemon->notify);
	daemon->notify = -1;
}
