/* SPDX-License-Identifier: MIT */
/* Batch jobs of a reply, as people read and name them. */
#pragma once

#include <jansson.h>

#include "cli/cli.h"
#include "cli/table.h"

/* What a lease runs as; NULL if it is no job. */
json_t *job_of(json_t *lease);

/* Is it an array itself, not an element of one? */
bool job_is_array(json_t *lease);

/* What people call a lease: "42", or an element of an array "42.7". */
#define JOB_NUMBER_SIZE 64
void job_number(char dst[JOB_NUMBER_SIZE], json_t *lease);

/* The same of one that waits; an array with the indices that have not started: "42.[3-99]". */
void job_number_waiting(char dst[JOB_NUMBER_SIZE], json_t *lease);

/* "42", "#42" or "42.7"; *ret_index is -1 without one. -EINVAL with a sentence. */
int job_parse(const char *text, int64_t *ret_id, int64_t *ret_index, struct error *err);

/* All words of the command line as the ids of ControlJobs and WaitJobs, each once: a new array,
 * owned by the caller. NULL with a sentence. */
json_t *job_parse_all(const char *const *words, struct error *err);

/* The number of the lease that is meant; dibsd is asked for that of an element. What fails is said
 * already. */
enum client_exit job_find(struct cli *cli, const char *text, int64_t *ret_id);

/* Asks for one lease and its journal: a reply of Show, owned by the caller. What fails is said
 * already. */
enum client_exit job_show(struct cli *cli, int64_t id, int64_t index, json_t **ret);

/* Has the element of that array started? For a reply of job_show. */
bool job_has_started(json_t *lease, int64_t index);

/* A column of tables: "waiting", "running again", "suspended", "told to end". */
void job_put_state(struct cell *cell, const struct view *view, json_t *lease);

/* Appends why it cannot have its turn: "held until 'dibs resume 42'"; nothing if it can. */
void job_put_blocked(struct cell *cell, struct people *people, json_t *lease);

/* Appends how it ended last: "exit status 1", "signal 9 (KILL): out of memory", "8 ok, 2 failed";
 * nothing while that is not known. */
void job_put_end(struct cell *cell, struct people *people, json_t *lease);

/* Appends "8G" or "8100M". */
void job_put_size(struct cell *cell, int64_t mib);

/* What a shell makes of its end: the exit status, 128 and the signal, or JOB_EXIT_NONE if its
 * command did not end or never ran. Of an array: 1 if an element failed. Of a lease that is no job:
 * 0. */
#define JOB_EXIT_NONE 125
int job_exit_code(json_t *lease);

/* Waits until those of job_parse_all have ended, says on standard error which of them failed, and
 * returns the first job_exit_code in their order that is not 0. *ret: the leases in that order,
 * owned by the caller; it may be NULL. A dibsd that is restarted meanwhile is waited for. */
int job_wait(struct cli *cli, json_t *ids, json_t **ret);

/* "9 (KILL)" */
#define SIGNAL_TEXT_SIZE 32
void signal_text(char dst[SIGNAL_TEXT_SIZE], int number);
