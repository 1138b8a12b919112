/* SPDX-License-Identifier: MIT */
#include "daemon/api_ids.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "daemon/watch.h"
#include "store/store.h"

/* Not 42.07: everything has one name. */
static int parse(const char *text, struct job_address *ret)
{
	char copy[LEASE_LABEL_SIZE], *index = copy;
	uint64_t id, n = 0;

	if (!*text || strlen(text) >= sizeof(copy))
		return -EINVAL;
	text_copy(copy, sizeof(copy), text);
	if (parse_uint(strsep(&index, "."), 1, INT64_MAX, &id) < 0 ||
		(index && parse_uint(index, 0, INDICES_INDEX_MAX, &n) < 0))
		return -EINVAL;
	*ret = (struct job_address){ (int64_t)id, index ? (int64_t)n : -1 };
	return 0;
}

struct verdict api_parse_ids(json_t *ids, struct job_address **ret, size_t *ret_n)
{
	_cleanup_(freep) struct job_address *addresses =
		calloc(json_array_size(ids) + 1, sizeof(*addresses));
	json_t *id;
	size_t i;

	*ret = NULL;
	if (json_array_size(ids) == 0)
		return verdict_make(VERDICT_INVALID, "job.no-id", "say which jobs are meant");
	if (!addresses)
		return verdict_ok();
	json_array_foreach (ids, i, id) {
		char shown[64];

		if (parse(json_string_value(id), &addresses[i]) >= 0)
			continue;
		text_copy(shown, sizeof(shown), json_string_value(id));
		text_sanitize(shown);
		return verdict_make(VERDICT_INVALID, "job.bad-id",
			"'%s' is not the number of a job, such as 42 or, for an element of an "
			"array, 42.7",
			shown);
	}
	*ret_n = json_array_size(ids);
	*ret = TAKE_PTR(addresses);
	return verdict_ok();
}

struct lease *api_find_address(const struct manager *m, const struct job_address *address)
{
	struct lease *array;

	if (address->index < 0)
		return api_find_lease(m, address->id);
	for (size_t i = 0; i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];

		if (lease->job && lease->job->array == address->id &&
			lease->job->index == address->index && lease->state != LEASE_ENDED)
			return lease;
	}
	array = api_find_lease(m, address->id);
	return array && array->job && indices_has(&array->job->pending, address->index) ? array
											: NULL;
}

struct lease *api_find_ending(const struct manager *m, const struct job_address *address)
{
	for (size_t i = 0; i < m->pool->n_leases; i++) {
		struct lease *lease = m->pool->leases[i];
		bool element = lease->job && lease->job->array == address->id &&
			       lease->job->index == address->index;

		if (lease->state == LEASE_ENDED && watch_of(lease) &&
			(element || (address->index < 0 && lease->id == address->id)))
			return lease;
	}
	return NULL;
}

int api_find_ended(
	struct manager *m, const struct job_address *address, struct lease **ret, struct error *err)
{
	const struct store_ops *ops = m->store->ops;
	_cleanup_(lease_freep) struct lease *lease = NULL;
	int64_t id = address->id;
	int r = 0;

	if (address->index >= 0)
		r = ops->find_element(m->store, address->id, address->index, &id, err);
	if (r >= 0 && id > 0)
		r = ops->get_lease(m->store, m->pool, id, &lease, err);
	if (r < 0)
		return r;
	*ret = lease && lease->state == LEASE_ENDED ? TAKE_PTR(lease) : NULL;
	return 0;
}

struct verdict api_unknown_address(const struct job_address *address)
{
	if (address->index < 0)
		return verdict_make(VERDICT_INVALID, "lease.unknown",
			"there is no job or lease #%" PRId64 ", or it has ended; see 'dibs list'",
			address->id);
	return verdict_make(VERDICT_INVALID, "lease.unknown",
		"there is no job %" PRId64 ".%" PRId64 ", or it has ended; see 'dibs list'",
		address->id, address->index);
}
