/* SPDX-License-Identifier: MIT */
/* What all batch jobs have in common: the directory of the records, and who starts supervisors. */
#pragma once

#include "daemon/manager.h"
#include "model/verdict.h"
#include "priv/supervisor.h"

struct jobs;

/* Opens STATE/jobs. */
int jobs_new(struct manager *m, struct jobs **ret, struct error *err);
struct jobs *jobs_free(struct jobs *jobs);

/* The record of the present attempt of a job: record_read(); is there one; its path, which the
 * caller frees (NULL without memory). */
int jobs_read_record(
	const struct manager *m, const struct lease *lease, struct record *ret, struct error *err);
bool jobs_has_record(const struct manager *m, const struct lease *lease);
char *jobs_record_path(const struct manager *m, const struct lease *lease);

/* After the end of that attempt is on disk. */
void jobs_delete_record(const struct manager *m, const struct lease *lease, unsigned attempt);

/* At start: deletes those of what is not there any more. */
void jobs_sweep_records(struct manager *m);

/* Hands an order to dibs-exec: supervisor_start(). */
int jobs_hand_over(struct manager *m, const struct fields_writer *order, struct error *err);

/* Refused where dibsd is confined by systemd, which jobs must not be, and dibs-exec does not
 * listen. */
struct verdict jobs_can_start(const struct manager *m);
