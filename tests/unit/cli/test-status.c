/* SPDX-License-Identifier: MIT */
/* What people see, at several widths. */
#include <stdlib.h>

#include "../tap.h"
#include "base/macro.h"
#include "cli/status.h"
#include "proto/message.h"

#define NOW (INT64_C(10) * 3600 * 1000000)

static json_t *gpu(int index, const char *state, int lease, const char *reason, json_t *processes)
{
	return json_pack("{si ss si si si ss so so* so*}", "index", index, "model",
		"NVIDIA A100-SXM4-80GB", "memory_mib", 81920, "memory_used_mib", 3, "utilization",
		7, "state", state, "processes", processes, "leases",
		lease ? json_pack("[i]", lease) : NULL, "reason",
		reason ? json_string(reason) : NULL);
}

static json_t *process(int uid, const char *command, json_t *lease)
{
	return json_pack("{si ss so}", "uid", uid, "command", command, "lease", lease);
}

static json_t *machine(void)
{
	json_t *mine = json_pack("[ooo]", process(0, "python", json_integer(41)),
		process(0, "python", json_integer(41)), process(0, "miner", json_null()));
	json_t *foreign = json_pack("[o]", process(0, "jupyter", json_null()));
	json_t *lease = json_pack("{si ss ss si sI sI ss s[i]}", "id", 41, "kind", "hold", "state",
		"active", "uid", 0, "since", NOW - INT64_C(7200000000), "until",
		NOW + INT64_C(3600000000), "note", "n", "gpus", 0);
	json_t *waiting = json_pack("{si ss ss si si si ss}", "id", 42, "kind", "run", "state",
		"waiting", "uid", 0, "position", 1, "count", 2, "command", "./x");

	return json_pack("{ss ss s[oooo] s[oo]}", "host", "gpu01", "guard", "off", "gpus",
		gpu(0, "leased", 41, NULL, mine), gpu(1, "foreign", 0, NULL, foreign),
		gpu(2, "free", 0, NULL, json_array()),
		gpu(3, "draining", 0, "fan of uid 0 broken", json_array()), "leases", lease,
		waiting);
}

/* With all that can be wrong. */
static json_t *guarded(void)
{
	json_t *wrong = json_pack("[{si si ss ss so} {si si ss ss so} {si si ss ss so ss}]", "pid",
		7, "uid", 0, "command", "a", "standing", "anothers", "lease", json_null(), "pid", 8,
		"uid", 0, "command", "b", "standing", "outside", "lease", json_null(), "pid", 9,
		"uid", 0, "command", "a", "standing", "anothers", "lease", json_null(), "container",
		"docker:web");
	json_t *elsewhere = json_pack("[{si si ss ss so} {si si ss ss so}]", "pid", 10, "uid", 0,
		"command", "c", "standing", "wrong_gpu", "lease", json_null(), "pid", 11, "uid", 0,
		"command", "d", "standing", "no_lease", "lease", json_null());
	json_t *display = json_pack("[{si ss ss} {si ss ss}]", "uid", 0, "command", "Xorg",
		"standing", "ignored", "uid", 0, "command", "dwm", "standing", "ignored");
	json_t *many = json_pack("[{ss ss} {ss ss} {ss ss}]", "command", "p", "standing", "ignored",
		"command", "q", "standing", "ignored", "command", "r", "standing", "ignored");
	json_t *lease = json_pack("{si ss ss si sI sI s[ii] ss}", "id", 41, "kind", "run", "state",
		"active", "uid", 0, "idle_since", NOW - INT64_C(10830000000), "idle_release",
		NOW + INT64_C(3600000000), "gpus", 0, 4, "command", "./x");

	return json_pack("{ss ss ss ss s[ooooo] s[o]}", "host", "gpu01", "guard", "deny",
		"guard_method", "acl", "guard_problem", "nodes open to uid 0", "gpus",
		gpu(0, "leased", 41, NULL, wrong), gpu(1, "foreign", 0, NULL, elsewhere),
		gpu(2, "free", 0, NULL, display), gpu(3, "free", 0, NULL, many),
		gpu(4, "leased", 41, NULL, json_array()), "leases", lease);
}

static char *draw(const struct term *term, json_t *reply)
{
	struct people people = { 0 };
	struct view view = { term, &people, NOW, json_object_get(reply, "leases") };
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	CHECK_INT(status_draw(out, &view, reply), 0);
	fclose(out);
	return text;
}

static size_t longest_line(const char *text)
{
	size_t longest = 0;

	while (*text) {
		size_t n = strcspn(text, "\n");

		longest = MAX(longest, n);
		text += n + (text[n] == '\n');
	}
	return longest;
}

static void says_all_in_a_pipe(void)
{
	_cleanup_(json_decrefp) json_t *reply = machine();
	_cleanup_(freep) char *text = draw(&(struct term){ 0 }, reply);

	CHECK(strstr(text,
		"gpu01: 4 x A100-SXM4-80GB, 1 free, 1 leased, 1 foreign, 1 draining, 1 waiting\n"));
	CHECK(strstr(text, "! root: miner, python x2 # n"));
	CHECK(strstr(text, "#41    root   2h  11:00"));
	CHECK(strstr(text, "jupyter"));
	CHECK(strstr(text, "fan of root broken"));
	CHECK(strstr(text, "MODEL") && strstr(text, "TEMP"));
	CHECK(strstr(text, "#42"));
	CHECK(!strchr(text, '\033'));
}

static void says_who_is_where_without_a_right(void)
{
	_cleanup_(json_decrefp) json_t *reply = guarded();
	_cleanup_(freep) char *text = draw(&(struct term){ 0 }, reply);

	CHECK(strstr(text, "2 leased, 1 foreign, guard deny (acl)\n"));
	CHECK(strstr(text, "\n! guard deny: nodes open to root\n"));
	CHECK(strstr(text,
		"! GPU 0: root runs a (pid 7), a in docker:web (pid 9) on the GPU of root\n"));
	CHECK(strstr(
		text, "! GPU 0: root runs b (pid 8) outside of run #41, which has this GPU\n"));
	CHECK(strstr(text, "! GPU 1: root runs c (pid 10) with a lease for other GPUs\n"));
	CHECK(strstr(text, "! GPU 1: root runs d (pid 11) without a lease\n"));
}

static void ignored_processes_are_no_use(void)
{
	_cleanup_(json_decrefp) json_t *reply = guarded();
	_cleanup_(freep) char *text = draw(&(struct term){ .color = true, .width = 120 }, reply);

	CHECK(strstr(text, "\033[2m(Xorg, dwm)"));
	CHECK(strstr(text, "\033[2m(3 of the system)"));
	CHECK(!strstr(text, "GPU 2:") && !strstr(text, "GPU 3:"));
}

static void says_what_is_held_for_nothing(void)
{
	_cleanup_(json_decrefp) json_t *reply = guarded();
	_cleanup_(json_decrefp) json_t *pause = guarded();
	_cleanup_(freep) char *text = draw(&(struct term){ 0 }, reply), *short_pause = NULL;
	json_t *lease = json_array_get(json_object_get(pause, "leases"), 0);

	CHECK(strstr(text, "(idle 3h) ./x"));
	CHECK(strstr(text,
		"! #41 of root does nothing on GPU 0,4 and is given back at 11:00 unless it is "
		"used\n"));
	json_object_set_new(lease, "idle_since", json_integer(NOW - INT64_C(200000000)));
	json_object_set_new(lease, "idle_release", json_null());
	short_pause = draw(&(struct term){ 0 }, pause);
	CHECK(!strstr(short_pause, "idle") && !strstr(short_pause, "given back"));
}

static void fits_the_terminal(void)
{
	_cleanup_(json_decrefp) json_t *reply = machine(), *more = guarded();

	for (unsigned width = 60; width <= 130; width += 5) {
		_cleanup_(freep) char *text = draw(&(struct term){ .width = width }, reply);
		_cleanup_(freep) char *second = draw(&(struct term){ .width = width }, more);

		CHECK(longest_line(text) <= width && longest_line(second) <= width);
		CHECK(!strstr(text, "MODEL"));
		CHECK(strstr(text, "fan of root broken"));
		CHECK(strstr(second, "WHAT RUNS THERE"));
	}
}

static void warns_in_colour(void)
{
	_cleanup_(json_decrefp) json_t *reply = machine();
	_cleanup_(freep) char *text = draw(&(struct term){ .color = true, .width = 120 }, reply);

	CHECK(strstr(text, "\033[1;31mforeign"));
	CHECK(strstr(text, "\033[32mfree"));
}

static void is_friendly_when_empty(void)
{
	_cleanup_(json_decrefp) json_t *nothing =
		json_pack("{ss ss s[] s[]}", "host", "h", "guard", "off", "gpus", "leases");
	_cleanup_(json_decrefp) json_t *calm = json_pack("{ss ss s[o] s[]}", "host", "h", "guard",
		"off", "gpus", gpu(0, "free", 0, NULL, json_array()), "leases");
	_cleanup_(freep) char *none = draw(&(struct term){ 0 }, nothing);
	_cleanup_(freep) char *idle = draw(&(struct term){ .width = 80 }, calm);

	CHECK_STR(none, "h: 0 GPUs\nNo GPU was found here; 'dibs doctor' says why.\n");
	CHECK_STR(idle, "h: 1 x A100-SXM4-80GB, 1 free\n\n"
			"GPU  MEMORY  UTIL  STATE\n"
			"  0   0/80G    7%  free\n");
}

static void moments(void)
{
	char text[MOMENT_SIZE];
	const int64_t hour = INT64_C(3600000000), day = 24 * hour;

	term_moment(text, NOW + 2 * hour, NOW);
	CHECK_STR(text, "12:00");
	term_moment(text, NOW + 14 * hour, NOW);
	CHECK_STR(text, "Fri 00:00");
	term_moment(text, NOW + 7 * day, NOW);
	CHECK_STR(text, "Jan  8 10:00");
	term_moment(text, NOW + 365 * day, NOW);
	CHECK_STR(text, "1971-01-01");
}

int main(void)
{
	TEST(says_all_in_a_pipe);
	TEST(says_who_is_where_without_a_right);
	TEST(ignored_processes_are_no_use);
	TEST(says_what_is_held_for_nothing);
	TEST(fits_the_terminal);
	TEST(warns_in_colour);
	TEST(is_friendly_when_empty);
	TEST(moments);
	return tap_done();
}
