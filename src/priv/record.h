/* SPDX-License-Identifier: MIT */
/* The record of one attempt to run a job, written by its supervisor and read by dibsd. What it
 * holds stands in priv/supervisor.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define RECORD_SENTENCE_SIZE 240

enum record_end {
	RECORD_NONE, /* has not ended, as far as is written */
	RECORD_EXIT,
	RECORD_SIGNAL,
	RECORD_FAILED, /* the command never ran */
};

struct record {
	bool exists; /* there is such a file: the attempt was begun */
	bool alive;  /* its supervisor holds the lock; with an end above: is about to exit */
	pid_t pid;   /* of the supervisor; 0 = not written yet */
	uint64_t start_ticks;
	bool running;      /* its command was executed */
	pid_t command_pid; /* and this is it; 0 = not yet */
	char *log;         /* owned; NULL = not open yet */
	int64_t log_offset;
	enum record_end end;
	int code;                            /* status, or signal */
	char sentence[RECORD_SENTENCE_SIZE]; /* of failed or memory, sanitized; or empty */
};

/* Reads directory/ID.ATTEMPT as far as it is written. No such file is no error. Never blocks.
 * -EBADMSG: it is no file of a supervisor. */
int record_read(int directory, int64_t id, unsigned attempt, struct record *ret, struct error *err);
void record_clear(struct record *record);

/* The name of that file. */
#define RECORD_NAME_SIZE 48
void record_name(int64_t id, unsigned attempt, char dst[RECORD_NAME_SIZE]);

/* Makes the record at path, locked and with its first line from its first moment; there is room on
 * the disk for all that will be written. Returns its descriptor. -EEXIST: the attempt was begun
 * before. */
int record_create(const char *path, struct error *err);

/* Appends one line, sanitized, with one write. */
int record_write(int fd, const char *fmt, ...) _printf_(2, 3);
