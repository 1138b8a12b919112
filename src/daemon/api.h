/* SPDX-License-Identifier: MIT */
/*
 * The methods of org.dibs. A handler gets parameters that were checked against its table, and
 * answers through the connection_* functions, now or later; a negative return is a fault, answered
 * with err.
 */
#pragma once

#include "daemon/connection.h"

struct method {
	const char *name;
	bool admin;   /* only for administrators */
	bool changes; /* counted per user and hour, as it writes to the journal; not what gives
			 back: there is no more of that than was granted, and it must always be
			 possible */
	const struct field *fields;
	size_t n_fields, parameters_size;
	const void *defaults; /* of the parameters; NULL = all zero */
	int (*handler)(
		struct manager *m, struct connection *c, const void *parameters, struct error *err);
};

extern const struct method api_lease_methods[], api_admin_methods[], api_request_methods[],
	api_status_methods[], api_transfer_methods[], api_submit_methods[], api_job_methods[],
	api_wait_methods[], api_report_methods[], api_events_methods[],
	api_import_methods[]; /* each ends with a NULL name */

/* From a frame to the handler of its method. */
void dispatch(struct manager *m, struct connection *c, const char *text, size_t size);

/* Counts n changes of who calls; refused if they are too many for this hour. */
struct verdict api_take_changes(struct manager *m, const struct connection *c, size_t n);

/* The lease with that number, or NULL if it has ended or never was; what to say then. */
struct lease *api_find_lease(const struct manager *m, int64_t id);
struct verdict api_unknown_lease(int64_t id);

/* A lease as it is now. NULL without memory. */
json_t *api_view_lease(const struct manager *m, const struct lease *lease);

/* The GPUs that people typed. */
struct verdict api_resolve(const struct manager *m, const char *typed, struct gpu_set *ret_gpus);

/* What a request is answered with: its lease, its GPUs, what is in the way. NULL without memory. */
json_t *api_view_request(const struct manager *m, const struct lease *lease, size_t position);

/* The reply of GetStatus, whole: the caller frees. NULL without memory. */
char *api_status(const struct manager *m, bool continues);

/* Sends the lines of the journal that are new to a connection that follows it. True: there may be
 * more of them. */
bool api_events_push(struct manager *m, struct connection *c);

/* Sends the present state of a request to its client: waiting (with what is in the way) or granted.
 */
void api_request_tell(struct manager *m, struct lease *lease);

/* Tells everybody near the head of the queue whose place has changed. */
void api_request_positions(struct manager *m);
