/* SPDX-License-Identifier: MIT */
/*
 * The journal, line by line. What is told is what the store has, read page by page: who follows it
 * and does not read costs a number, and misses nothing when they read on.
 */
#include <errno.h>

#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/server.h"
#include "proto/view.h"

#define PAGE 1000 /* lines a reply */

struct events_parameters {
	int64_t after, lease;
};

#define AT(member) offsetof(struct events_parameters, member)
static const struct field events_fields[] = {
	{ "after", FIELD_INT, AT(after), .max = INT64_MAX },
	{ "lease", FIELD_INT, AT(lease), .min = 1, .max = INT64_MAX },
};
#undef AT

static const struct events_parameters events_defaults = { .after = -1 };

struct page {
	json_t *lines; /* owned */
	int64_t last;  /* the number of the newest; 0 = none */
};

static int add_line(const struct event *event, void *userdata)
{
	struct page *page = userdata;

	page->last = event->id;
	return json_array_append_new(page->lines, view_event(event)) < 0 ? -ENOMEM : 0;
}

/* The lines after *after, which moves on. *ret is the caller's. */
static int read_page(
	struct manager *m, int64_t *after, int64_t lease, json_t **ret, struct error *err)
{
	struct page page = { .lines = json_array() };
	int r;

	if (!page.lines)
		return -ENOMEM;
	r = m->store->ops->events_after(m->store, *after, lease, PAGE, add_line, &page, err);
	if (r < 0) {
		json_decref(page.lines);
		return r;
	}
	if (page.last)
		*after = page.last;
	*ret = json_pack("{s:o, s:I}", "events", page.lines, "last", (json_int_t)*after);
	return *ret ? 0 : -ENOMEM;
}

static int events(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct events_parameters *p = parameters;
	json_t *reply = NULL;
	int64_t after = p->after;
	int r = after < 0 ? m->store->ops->last_event(m->store, &after, err) : 0;

	if (r >= 0)
		r = read_page(m, &after, p->lease, &reply, err);
	if (r < 0)
		return r;
	c->follows_events = c->more; /* and stays busy: that call never ends */
	c->event_after = after;
	c->event_lease = p->lease;
	batch_reply(m, c, message_reply(reply, c->more), !c->more);
	json_decref(reply);
	if (c->more)
		server_push_soon(m->server); /* there may be another page */
	return 0;
}

bool api_events_push(struct manager *m, struct connection *c)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	_cleanup_(freep) char *text = NULL;
	struct error err = { 0 };
	size_t n;

	read_page(m, &c->event_after, c->event_lease, &reply, &err);
	n = json_array_size(json_object_get(reply, "events"));
	if (reply && n == 0)
		return false;
	text = reply ? message_reply(reply, true) : NULL;
	connection_send(c, text, false);
	return n == PAGE;
}

const struct method api_events_methods[] = {
	{ "org.dibs.Events", false, false, events_fields, ELEMENTSOF(events_fields),
		sizeof(struct events_parameters), &events_defaults, events },
	{ 0 },
};
