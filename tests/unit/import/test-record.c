/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "../tap.h"
#include "base/macro.h"
#include "import/chg_record.h"
#include "import/chg_time.h"

#define SEC INT64_C(1000000)

static struct chg_record record;
static struct error err;

static int time_of(const char *json, int64_t *ret)
{
	_cleanup_(json_decrefp) json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);

	*ret = -1;
	return chg_time(value, ret);
}

static void both_forms_of_times(void)
{
	static const struct {
		const char *json;
		int64_t us;
	} good[] = {
		{ "1751300078", 1751300078 * SEC },
		{ "1751300078.25", 1751300078 * SEC + 250000 },
		{ "1.751300078e9", 1751300078 * SEC },
		{ "\"1751300078\"", 1751300078 * SEC },
		{ "\"2025-06-30T16:14:38Z\"", 1751300078 * SEC },
		{ "\"2025-06-30T16:14:38.372177993Z\"", 1751300078 * SEC + 372177 },
		{ "\"2025-06-30T18:14:38.5+02:00\"", 1751300078 * SEC + 500000 },
		{ "\"2025-06-30T09:44:38-06:30\"", 1751300078 * SEC },
		{ "\"2024-02-29T00:00:00Z\"", 1709164800 * SEC },
		{ "null", 0 },
		{ "\"\"", 0 },
		{ "\"0001-01-01T00:00:00Z\"", 0 },
	};
	static const char *const bad[] = {
		"0",
		"-1",
		"1e300",
		"9999999999",
		"946684799",
		"true",
		"[]",
		"{}",
		"\"now\"",
		"\"2025-06-30\"",
		"\"2025-06-30T16:14:38\"",
		"\"2025-06-30 16:14:38Z\"",
		"\"2025-06-30T16:14:38Zz\"",
		"\"2025-06-30T16:14:38.Z\"",
		"\"2025-06-30T16:14:60Z\"",
		"\"2025-06-30T24:00:00Z\"",
		"\"2025-02-30T00:00:00Z\"",
		"\"2025-13-01T00:00:00Z\"",
		"\"2025-06-30T16:14:38+24:00\"",
		"\"2025-06-30T16:14:38+02\"",
		"\"+025-06-30T16:14:38Z\"",
		"\" 1751300078\"",
		"\"1999-12-31T23:59:59Z\"",
		"\"9999-12-31T23:59:59Z\"",
	};
	int64_t us;

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		CHECK_INT(time_of(good[i].json, &us), 0);
		CHECK_INT(us, good[i].us);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		printf("# %s\n", bad[i]);
		CHECK_INT(time_of(bad[i], &us), -EINVAL);
		CHECK_INT(us, -1);
	}
	CHECK_INT(chg_time(NULL, &us), 0);
	CHECK_INT(us, 0);
}

static int gpu(const char *json)
{
	return chg_parse_gpu(json, strlen(json), &record, &err);
}

static void gpus(void)
{
	/* By a script of Redis, then by the program. */
	CHECK_INT(gpu("{\"user\":\"Alice S\",\"actual_user\":\"alice\",\"start_time\":1751300078,"
		      "\"type\":\"manual\",\"expiry_time\":1751303678,\"note\":\"vLLM\"}"),
		0);
	CHECK_STR(record.user, "alice");
	CHECK_STR(record.note, "vLLM");
	CHECK_INT(record.kind, LEASE_HOLD);
	CHECK_INT(record.start_us, 1751300078 * SEC);
	CHECK_INT(record.end_us, 1751303678 * SEC);
	CHECK(!record.partial && !record.heartbeat_us);

	CHECK_INT(gpu("{\"user\":\"bob\",\"start_time\":\"2025-06-30T16:14:38Z\",\"type\":\"run\","
		      "\"last_heartbeat\":\"2025-06-30T16:15:38.1Z\",\"expiry_time\":null,"
		      "\"last_released\":null,\"partial_queue_id\":\"5b0e\"}"),
		0);
	CHECK_STR(record.user, "bob");
	CHECK_STR(record.note, "");
	CHECK_INT(record.kind, LEASE_RUN);
	CHECK_INT(record.heartbeat_us, 1751300138 * SEC + 100000);
	CHECK(record.partial && !record.end_us);

	/* By its first version: no account, and no type where it was a run. */
	CHECK_INT(gpu("{\"user\": \"carol\", \"start_time\": 1751300078}"), 0);
	CHECK_STR(record.user, "carol");
	CHECK_INT(record.kind, LEASE_RUN);

	/* Free. */
	CHECK_INT(gpu("{\"last_released\":\"2025-06-30T16:14:38Z\",\"start_time\":\"?\"}"), 0);
	CHECK_STR(record.user, "");
	CHECK_INT(gpu("{}"), 0);
	CHECK_STR(record.user, "");
}

static void hostile_gpus(void)
{
	static const char *const bad[] = {
		"",
		"x",
		"[]",
		"{\"user\":\"a\"",
		"{\"user\":7}",
		"{\"user\":\"a\"}",
		"{\"user\":\"a\",\"start_time\":\"tomorrow\"}",
		"{\"user\":\"a\",\"start_time\":1751300078,\"type\":\"root\"}",
		"{\"user\":\"a\",\"start_time\":1751300078,\"note\":[]}",
		"{\"user\":\"a\",\"start_time\":1751300078,\"actual_user\":{}}",
		"{\"user\":\"a\\u0000b\",\"start_time\":1751300078}",
		"{\"user\":\"\xff\",\"start_time\":1751300078}",
	};
	struct chg_record before;

	CHECK_INT(gpu("{\"user\":\"a\\u001b[2J\\n\",\"start_time\":1751300078,\"note\":"
		      "\"\\u202eb\"}"),
		0);
	CHECK_STR(record.user, "a?[2J?");
	CHECK_STR(record.note, "?b");
	before = record;
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		printf("# %s\n", bad[i]);
		CHECK_INT(gpu(bad[i]), -EINVAL);
	}
	CHECK_STR(record.user, before.user);
	/* What is behind its end does not count. */
	CHECK_INT(chg_parse_gpu("{}}", 2, &record, &err), 0);
	CHECK_INT(chg_parse_gpu("{}\0{", 4, &record, &err), -EINVAL);
}

static int usage(const char *json)
{
	return chg_parse_usage(json, strlen(json), &record, &err);
}

#define USAGE(gpu, start, end)                                                              \
	"{\"user\":\"alice\",\"gpu_id\":" gpu ",\"start_time\":" start ",\"end_time\":" end \
	",\"duration_seconds\":60.5,\"reservation_type\":\"run\"}"

static void usages(void)
{
	CHECK_INT(usage(USAGE("3", "\"2025-06-30T16:14:38Z\"", "\"2025-06-30T18:15:38.5+02:00\"")),
		0);
	CHECK_INT(record.gpu, 3);
	CHECK_INT(record.end_us - record.start_us, 60 * SEC + 500000);
	CHECK_INT(record.kind, LEASE_RUN);
	CHECK_INT(usage(USAGE("0", "1751300078", "1751300078")), 0);

	CHECK_INT(usage(USAGE("-1", "1751300078", "1751300079")), -EINVAL);
	CHECK_INT(usage(USAGE("256", "1751300078", "1751300079")), -EINVAL);
	CHECK_INT(usage(USAGE("4294967296", "1751300078", "1751300079")), -EINVAL);
	CHECK_INT(usage(USAGE("1.5", "1751300078", "1751300079")), -EINVAL);
	CHECK_INT(usage(USAGE("3", "1751300078", "1751300077")), -EINVAL);
	CHECK_INT(usage(USAGE("3", "null", "1751300077")), -EINVAL);
	CHECK_INT(usage(USAGE("3", "1751300078", "null")), -EINVAL);
	CHECK_INT(
		usage("{\"gpu_id\":3,\"start_time\":1751300078,\"end_time\":1751300079}"), -EINVAL);
}

static void waiters(void)
{
	static const char json[] = "{\"id\":\"5b0e\",\"user\":\"Bob\",\"actual_user\":\"bob\","
				   "\"requested_count\":2,\"allocated_gpus\":[1],"
				   "\"reservation_type\":\"manual\"}";
	static const char ids[] = "{\"user\":\"bob\",\"requested_count\":1,"
				  "\"requested_ids\":[0,1,2],\"reservation_type\":\"run\"}";
	struct chg_waiter waiter;

	CHECK_INT(chg_parse_waiter(json, strlen(json), &waiter, &err), 0);
	CHECK_STR(waiter.user, "bob");
	CHECK_INT(waiter.n_gpus, 2);
	CHECK_INT(waiter.kind, LEASE_HOLD);
	CHECK_INT(chg_parse_waiter(ids, strlen(ids), &waiter, &err), 0);
	CHECK_INT(waiter.n_gpus, 3);
	CHECK_INT(waiter.kind, LEASE_RUN);
	CHECK_INT(chg_parse_waiter("7", 1, &waiter, &err), -EINVAL);
}

int main(void)
{
	TEST(both_forms_of_times);
	TEST(gpus);
	TEST(hostile_gpus);
	TEST(usages);
	TEST(waiters);
	return tap_done();
}
