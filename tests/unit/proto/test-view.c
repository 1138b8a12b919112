/* SPDX-License-Identifier: MIT */
/* Leases and jobs on the wire: what is unknown is null, and numbers keep their meaning. */
#include <string.h>

#include "../tap.h"
#include "proto/view.h"

static struct lease *add(struct pool *pool, int64_t id, enum lease_state state)
{
	struct lease *lease = lease_new();

	lease->id = lease->turn = id;
	lease->kind = LEASE_JOB;
	lease->state = state;
	lease->request.count = 1;
	lease->until_us = TIME_NEVER;
	lease->submitted_us = 1;
	lease->job = job_new();
	lease->job->name = strdup("train");
	CHECK_INT(pool_add(pool, lease), 0);
	return lease;
}

static json_t *get(json_t *lease, const char *name)
{
	return json_object_get(json_object_get(lease, "job"), name);
}

static void what_waits(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_new();
	_cleanup_(json_decrefp) json_t *wire = NULL;
	struct lease *lease;
	const char *after;

	add(pool, 41, LEASE_ACTIVE);
	lease = add(pool, 42, LEASE_WAITING);
	lease->request.share_mib = 8192;
	lease->job->begin_us = TIME_NEVER - 1000000;
	lease->job->nice = -5;
	lease->job->retries = 2;
	lease->job->needs = calloc(1, sizeof(*lease->job->needs));
	lease->job->needs[0] = (struct job_need){ 41, JOB_NEED_FAIL };
	lease->job->n_needs = 1;
	wire = view_lease(pool, lease, 0, 500);
	after = json_string_value(json_array_get(get(wire, "after"), 0));
	CHECK_STR(after, "41:fail");
	CHECK_INT(json_integer_value(json_object_get(wire, "share_mib")), 8192);
	CHECK(json_is_null(json_object_get(wire, "position")));
	CHECK(json_is_string(get(wire, "blocked")));
	CHECK_INT(json_integer_value(get(wire, "begin")), TIME_NEVER - 1000000 + 500);
	CHECK_INT(json_integer_value(get(wire, "nice")), -5);
	CHECK_INT(json_integer_value(get(wire, "retries")), 2);
	CHECK_STR(json_string_value(get(wire, "on_limit")), "kill");
	CHECK(json_is_null(get(wire, "exit_status")) && json_is_null(get(wire, "exit_signal")));
	CHECK(json_is_null(get(wire, "array")) && json_is_null(get(wire, "index")));
	CHECK(json_is_null(get(wire, "pending")) && json_is_null(get(wire, "active")));
	CHECK(json_is_null(get(wire, "log")) && json_is_null(get(wire, "held_us")));
}

static void what_has_ended(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_new();
	_cleanup_(json_decrefp) json_t *wire = NULL;
	struct lease *lease = add(pool, 42, LEASE_ENDED);

	lease->job->array = 41;
	lease->job->exit_status = 0;
	lease->job->restarts = 1;
	lease->job->log = strdup("/home/alice/dibs-42.log");
	lease->job->log_offset = INT64_C(1) << 40;
	wire = view_lease(pool, lease, 0, 0);
	CHECK_INT(json_integer_value(get(wire, "array")), 41);
	CHECK(json_is_integer(get(wire, "index"))); /* 0 is an index */
	CHECK(json_is_integer(get(wire, "exit_status")));
	CHECK_INT(json_integer_value(get(wire, "restarts")), 1);
	CHECK_INT(json_integer_value(get(wire, "log_offset")), INT64_C(1) << 40);
	CHECK(json_is_null(get(wire, "blocked")));
}

static void an_array(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_new();
	_cleanup_(json_decrefp) json_t *wire = NULL;
	struct lease *lease = add(pool, 42, LEASE_WAITING);

	lease->job->is_array = true;
	lease->job->n_active = 2;
	CHECK_INT(indices_parse("3-99", &lease->job->pending), 0);
	wire = view_lease(pool, lease, 1, 0);
	CHECK_STR(json_string_value(get(wire, "pending")), "3-99");
	CHECK_INT(json_integer_value(get(wire, "active")), 2);
	CHECK(json_is_integer(get(wire, "ok")) && json_is_integer(get(wire, "failed")));
	CHECK_INT(json_integer_value(json_object_get(wire, "position")), 1);
}

static void what_is_no_job(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_new();
	_cleanup_(json_decrefp) json_t *wire = NULL;
	struct lease *lease = lease_new();

	lease->id = 1;
	lease->kind = LEASE_HOLD;
	CHECK_INT(pool_add(pool, lease), 0);
	wire = view_lease(pool, lease, 0, 0);
	CHECK(json_is_null(json_object_get(wire, "job")));
	CHECK(json_is_null(json_object_get(wire, "share_mib")));
}

static void who_shares_a_gpu(void)
{
	_cleanup_(pool_freep) struct pool *pool = pool_new();
	_cleanup_(json_decrefp) json_t *wire = NULL;
	json_t *leases;

	CHECK_INT(pool_add_gpu(pool, "GPU-a"), 0);
	for (int64_t id = 41; id <= 43; id++) {
		struct lease *lease = add(pool, id, id == 42 ? LEASE_WAITING : LEASE_ACTIVE);

		lease->request.share_mib = 1024;
		if (id != 42)
			gpu_set_add(&lease->gpus, 0);
	}
	wire = view_gpu(pool, 0, 0);
	leases = json_object_get(wire, "leases");
	CHECK_INT(json_array_size(leases), 2);
	CHECK_INT(json_integer_value(json_array_get(leases, 0)), 41);
	CHECK_INT(json_integer_value(json_array_get(leases, 1)), 43);
}

int main(void)
{
	TEST(what_waits);
	TEST(what_has_ended);
	TEST(an_array);
	TEST(what_is_no_job);
	TEST(who_shares_a_gpu);
	return tap_done();
}
