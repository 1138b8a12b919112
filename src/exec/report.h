/* SPDX-License-Identifier: MIT */
/* What the child of a supervisor tells it until it executes the command: over a socket of the type
 * SOCK_SEQPACKET, one report a message. */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define REPORT_LOGS 2 /* standard output, standard error */

enum step {
	STEP_CONFINE,
	STEP_USER,
	STEP_DIRECTORY,
	STEP_LOG,
	STEP_COMMAND,
	STEP_EXEC,
	STEP_MAX,
};

enum report_kind {
	REPORT_STEP,   /* is about to do that */
	REPORT_LOG,    /* has opened a log; comes with a descriptor if it can be read */
	REPORT_FAILED, /* its last words */
};

struct report {
	enum report_kind kind;
	enum step step;
	unsigned log;   /* which */
	int64_t offset; /* bytes that were in it */
	int code;       /* negative errno */
	char text[ERROR_TEXT_SIZE];
};

/* fd -1: none. Does not return if nobody listens: without a supervisor there is no job. */
void report_send(int socket, const struct report *report, int fd);

/* 1, or 0 at the end; *ret_fd is the caller's, or -1. */
int report_receive(int socket, struct report *ret, int *ret_fd);
