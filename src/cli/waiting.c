/* SPDX-License-Identifier: MIT */
/* The sentence that tells somebody who waits what they wait for. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "cli/lease.h"
#include "cli/public.h"
#include "cli/request.h"

#define BLOCKERS_SHOWN 2

struct sentence {
	char *text;
	size_t n;
};

static _printf_(2, 3) void add(struct sentence *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->text + s->n, WAITING_SIZE - s->n, fmt, ap);
	va_end(ap);
	if (n > 0)
		s->n = MIN(s->n + (size_t)n, WAITING_SIZE - 1);
}

static void add_blocker(struct sentence *s, json_t *lease, struct people *people, int64_t now_us)
{
	const char *who = people_name(people, wire_int(lease, "uid", -1));
	int64_t until = wire_int(lease, "until", 0);
	char gpus[LEASE_GPUS_SIZE], moment[MOMENT_SIZE];

	lease_gpus(gpus, lease);
	if (!*gpus) {
		add(s, "#%" PRId64 " of %s is ahead", wire_int(lease, "id", 0), who);
		return;
	}
	add(s, strchr(gpus, ',') ? "GPUs %s are leased by %s" : "GPU %s is leased by %s", gpus,
		who);
	if (until) {
		term_moment(moment, until, now_us);
		add(s, " until %s", moment);
	}
}

void waiting_text(char dst[WAITING_SIZE], json_t *reply, struct people *people, int64_t now_us)
{
	json_t *lease = json_object_get(reply, "lease"), *blocker;
	json_t *blockers = json_object_get(reply, "blockers");
	int64_t count = wire_int(lease, "count", 1);
	size_t i, n = json_array_size(blockers);
	struct sentence s = { .text = dst };

	add(&s, "waiting for %" PRId64 " GPU%s (#%" PRId64, count, count == 1 ? "" : "s",
		wire_int(lease, "id", 0));
	if (wire_int(lease, "position", 0))
		add(&s, ", position %" PRId64, wire_int(lease, "position", 0));
	add(&s, ")");
	json_array_foreach (blockers, i, blocker) {
		if (i == BLOCKERS_SHOWN)
			break;
		add(&s, "%s", i == 0 ? ": " : "; ");
		add_blocker(&s, blocker, people, now_us);
	}
	if (n > BLOCKERS_SHOWN)
		add(&s, "; and %zu more", n - BLOCKERS_SHOWN);
}
