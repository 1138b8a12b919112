/* SPDX-License-Identifier: MIT */
/*
 * Two timers. The first calls a handler that says what has happened. No handler runs while a system
 * call waits for a dead file server; but such calls can be killed, and that is what the second
 * timer does, a little later.
 */
#include "exec/watchdog.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"

#define GRACE_US  (5 * USEC_PER_SEC)
#define LINE_SIZE 256

/* snprintf is not safe in a handler. */
static size_t append(char line[LINE_SIZE], size_t n, const char *text)
{
	while (*text && n < LINE_SIZE)
		line[n++] = *text++;
	return n;
}

static size_t append_number(char line[LINE_SIZE], size_t n, int64_t number)
{
	char digits[24], *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do {
		*--p = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return append(line, n, p);
}

static void on_expiry(int sig, siginfo_t *info, void *context)
{
	const struct watchdog *w = info->si_value.sival_ptr;
	char line[LINE_SIZE];
	size_t n;

	if (info->si_code != SI_TIMER)
		return;
	if (w->child > 0)
		kill(w->child, SIGKILL);
	if (w->record >= 0) {
		n = append(line, 0, "failed it was not started within ");
		if (w->limit_us < USEC_PER_SEC) {
			n = append_number(line, n, w->limit_us / USEC_PER_MSEC);
			n = append(line, n, " ms: ");
		} else {
			n = append_number(line, n, w->limit_us / USEC_PER_SEC);
			n = append(line, n, " s: ");
		}
		n = append(line, n, w->doing);
		n = append(line, n, " takes too long\n");
		(void)!write(w->record, line, n);
	}
	_exit(EXIT_FAILURE);
}

static int make_timer(struct watchdog *watchdog, int sig, timer_t *ret)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = sig,
		.sigev_value.sival_ptr = watchdog,
	};

	return timer_create(CLOCK_MONOTONIC, &event, ret) < 0 ? -errno : 0;
}

int watchdog_init(struct watchdog *watchdog, struct error *err)
{
	struct sigaction action = { .sa_sigaction = on_expiry, .sa_flags = SA_SIGINFO };
	int r;

	*watchdog = (struct watchdog){ .record = -1, .doing = "" };
	sigfillset(&action.sa_mask);
	sigaction(SIGRTMIN, &action, NULL);
	r = make_timer(watchdog, SIGRTMIN, &watchdog->gentle);
	if (r >= 0)
		r = make_timer(watchdog, SIGKILL, &watchdog->hard);
	return r < 0 ? error_errno(err, r, "watchdog.timer", "cannot make a timer") : 0;
}

static void set(timer_t timer, int64_t us)
{
	const struct itimerspec when = {
		.it_value = { us / USEC_PER_SEC, us % USEC_PER_SEC * 1000 },
	};

	timer_settime(timer, 0, &when, NULL);
}

void watchdog_arm(struct watchdog *watchdog, int64_t limit_us)
{
	watchdog->limit_us = limit_us;
	set(watchdog->gentle, limit_us);
	set(watchdog->hard, limit_us ? limit_us + GRACE_US : 0);
}
