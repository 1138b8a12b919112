/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "../tap.h"
#include "base/macro.h"
#include "cli/report.h"
#include "proto/message.h"

static json_t *row_of(const char *name)
{
	return json_pack("{ss ss si sI sI sI si sn}", "name", name, "key", "1000", "leases", 2,
		"held_us", (json_int_t)7200000000, "used_us", (json_int_t)3600000000, "idle_us",
		(json_int_t)3600000000, "waited_median_us", 1500000, "waited_95_us");
}

/* The line of one row. */
static void check(const char *name, const char *expected)
{
	_cleanup_(json_decrefp) json_t *rows = json_array();
	_cleanup_(freep) char *text = NULL;
	char line[256];
	size_t size;
	FILE *out = open_memstream(&text, &size);

	json_array_append_new(rows, row_of(name));
	report_print_csv(out, "user", rows);
	fclose(out);
	snprintf(line, sizeof(line),
		"user,key,leases,held_gpu_hours,used_gpu_hours,idle_gpu_hours,waited_median_s,"
		"waited_95_s\r\n%s,\"1000\",2,2.000000,1.000000,1.000000,1.500,\r\n",
		expected);
	CHECK_STR(text, line);
}

static void names(void)
{
	check("alice", "\"alice\"");
	check("a,b", "\"a,b\"");
	check("say \"hi\"", "\"say \"\"hi\"\"\"");
	check("", "\"\"");
}

static void formulas(void)
{
	check("=1+1", "\"'=1+1\"");
	check("+cmd", "\"'+cmd\"");
	check("-2", "\"'-2\"");
	check("@SUM", "\"'@SUM\"");
	check("a=b", "\"a=b\"");
}

int main(void)
{
	TEST(names);
	TEST(formulas);
	return tap_done();
}
