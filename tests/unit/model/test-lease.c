/* SPDX-License-Identifier: MIT */
#include "model/lease.h"

#include "../tap.h"
#include "model/event.h"

static void words_go_both_ways(void)
{
	for (enum lease_kind k = 0; k < LEASE_KIND_MAX; k++)
		CHECK_INT(lease_kind_from_string(lease_kind_to_string(k)), k);
	for (enum lease_state s = 0; s < LEASE_STATE_MAX; s++)
		CHECK_INT(lease_state_from_string(lease_state_to_string(s)), s);
	for (enum lease_end e = 0; e < LEASE_END_MAX; e++)
		CHECK_INT(lease_end_from_string(lease_end_to_string(e)), e);
	for (enum event_kind k = 0; k < EVENT_KIND_MAX; k++)
		CHECK_INT(event_kind_from_string(event_kind_to_string(k)), k);
	CHECK_INT(lease_kind_from_string("Run"), LEASE_KIND_INVALID);
}

static void a_new_lease_has_no_end_in_sight(void)
{
	_cleanup_(lease_freep) struct lease *lease = lease_new();

	CHECK(lease->until_us == TIME_NEVER && lease->wait_until_us == TIME_NEVER);
	CHECK(!lease_holds(lease));
	lease->state = LEASE_GRACE;
	CHECK(lease_holds(lease));
	CHECK(!lease_free(NULL));
}

static void copies_of_requests_are_deep(void)
{
	struct request request = { .count = 2, .note = strdup("note"), .types = strdup("A100") };
	struct request copy;

	CHECK_INT(request_copy(&request, &copy), 0);
	request.note[0] = 'N';
	CHECK_STR(copy.note, "note");
	CHECK(!copy.gpus);
	CHECK_INT(copy.count, 2);
	request_clear(&request);
	request_clear(&copy);
	CHECK(!copy.note);
}

int main(void)
{
	TEST(words_go_both_ways);
	TEST(a_new_lease_has_no_end_in_sight);
	TEST(copies_of_requests_are_deep);
	return tap_done();
}
