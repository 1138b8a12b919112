/* SPDX-License-Identifier: MIT */
#include "cli/lease.h"

#include <string.h>

#include "base/parse.h"
#include "base/text.h"
#include "cli/job.h"
#include "cli/public.h"

#define IDLE_SHOWN_US (5 * 60 * USEC_PER_SEC)

void lease_gpus(char dst[LEASE_GPUS_SIZE], json_t *lease)
{
	json_t *index;
	size_t i, n = 0;

	dst[0] = '\0';
	json_array_foreach (json_object_get(lease, "gpus"), i, index)
		if (n < LEASE_GPUS_SIZE)
			n += (size_t)snprintf(dst + n, LEASE_GPUS_SIZE - n, "%s%lld",
				i == 0 ? "" : ",", (long long)json_integer_value(index));
}

/* They come by rising id, and there may be thousands. */
json_t *lease_find(json_t *leases, int64_t id)
{
	size_t first = 0, end = json_array_size(leases);

	while (first < end) {
		size_t middle = first + (end - first) / 2;
		json_t *lease = json_array_get(leases, middle);
		int64_t found = wire_int(lease, "id", 0);

		if (found == id)
			return lease;
		if (found < id)
			first = middle + 1;
		else
			end = middle;
	}
	return NULL;
}

bool lease_is_mine(json_t *lease)
{
	return wire_int(lease, "uid", -1) == getuid() &&
	       strcmp(wire_text(lease, "state"), "active") == 0;
}

char *lease_sentence(json_t *lease, int64_t now_us)
{
	int64_t since = wire_int(lease, "since", now_us), until = wire_int(lease, "until", 0);
	char gpus[LEASE_GPUS_SIZE], moment[MOMENT_SIZE], duration[DURATION_TEXT_SIZE];
	const char *kind = wire_text(lease, "kind");
	char id[JOB_NUMBER_SIZE];

	job_number(id, lease);
	lease_gpus(gpus, lease);
	if (!*gpus)
		return text_format("%s %s", kind, id);
	if (!until)
		return text_format("%s %s: GPU %s", kind, id, gpus);
	term_moment(moment, until, now_us);
	format_duration(duration, until - since);
	return text_format("%s %s: GPU %s until %s (%s)", kind, id, gpus, moment, duration);
}

char *lease_purpose(json_t *lease)
{
	const char *command = wire_text(lease, "command"), *note = wire_text(lease, "note");
	const char *name = wire_text(job_of(lease), "name");

	/* Mostly a job is called as its program. */
	if (strstr(command, name))
		name = "";
	return text_format("%s%s%s%s%s", name, *name && *command ? ": " : "", command,
		*command && *note ? " # " : "", note);
}

int64_t lease_idle_us(json_t *lease, int64_t now_us)
{
	int64_t us = now_us - wire_int(lease, "idle_since", now_us);

	return us >= IDLE_SHOWN_US ? us - us % (60 * USEC_PER_SEC) : 0;
}

bool lease_waits(json_t *lease)
{
	return strcmp(wire_text(lease, "state"), "waiting") == 0;
}

static int by_position(const void *a, const void *b)
{
	json_t *const *x = a, *const *y = b;
	int64_t i = wire_int(*x, "position", INT64_MAX), k = wire_int(*y, "position", INT64_MAX);

	if (i == k) {
		i = wire_int(*x, "id", 0);
		k = wire_int(*y, "id", 0);
	}
	return (i > k) - (i < k);
}

json_t *lease_queue(json_t *leases)
{
	size_t n = 0, i;
	_cleanup_(freep) json_t **sorted = calloc(json_array_size(leases) + 1, sizeof(json_t *));
	_cleanup_(json_decrefp) json_t *queue = json_array();
	json_t *lease;

	if (!sorted)
		return NULL;
	json_array_foreach (leases, i, lease)
		if (lease_waits(lease))
			sorted[n++] = lease;
	qsort(sorted, n, sizeof(*sorted), by_position);
	for (i = 0; i < n; i++)
		if (json_array_append(queue, sorted[i]) < 0)
			return NULL;
	return TAKE_PTR(queue);
}

void lease_print_released(json_t *lease)
{
	const char *kind = wire_text(lease, "kind");
	char gpus[LEASE_GPUS_SIZE], id[JOB_NUMBER_SIZE];

	job_number(id, lease);
	lease_gpus(gpus, lease);
	if (!*gpus)
		printf("%s %s: left the queue\n", kind, id);
	else if (strcmp(wire_text(lease, "state"), "grace") == 0)
		printf("%s %s: its processes on GPU %s were told to end\n", kind, id, gpus);
	else
		printf("%s %s: GPU %s released\n", kind, id, gpus);
}
