/* SPDX-License-Identifier: MIT */
/*
 * Ends this process when something takes too long: name services, PAM modules and file systems can
 * hang for ever, and the supervisor must not.
 */
#pragma once

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/error.h"

/* Stays where it is as long as it is armed. */
struct watchdog {
	int record;                 /* gets the line "failed"; -1: none */
	volatile pid_t child;       /* is killed; 0: there is none */
	const char *volatile doing; /* static; what takes so long */
	int64_t limit_us;
	timer_t gentle, hard;
};

int watchdog_init(struct watchdog *watchdog, struct error *err);

/* limit_us from now; 0: disarmed. */
void watchdog_arm(struct watchdog *watchdog, int64_t limit_us);
