/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/parse.h"
#include "cli/public.h"
#include "cli/report.h"

#define USEC_PER_HOUR (3600e6)

/* Security: names come from whoever made the account; one that begins like a formula would be
 * computed by who opens the file. */
static void put_text(FILE *out, const char *text)
{
	fputc('"', out);
	if (*text && strchr("=+-@\t\r", *text))
		fputc('\'', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void put_wait(FILE *out, json_t *row, const char *name)
{
	int64_t us = wire_int(row, name, -1);

	fputc(',', out);
	if (us >= 0)
		fprintf(out, "%.3f", (double)us / 1e6);
}

void report_print_csv(FILE *out, const char *by, json_t *rows)
{
	json_t *row;
	size_t i;

	fprintf(out,
		"%s,key,leases,held_gpu_hours,used_gpu_hours,idle_gpu_hours,waited_median_s,"
		"waited_95_s\r\n",
		by);
	json_array_foreach (rows, i, row) {
		put_text(out, wire_text(row, "name"));
		fputc(',', out);
		put_text(out, wire_text(row, "key"));
		fprintf(out, ",%lld,%.6f,%.6f,%.6f", (long long)wire_int(row, "leases", 0),
			(double)wire_int(row, "held_us", 0) / USEC_PER_HOUR,
			(double)wire_int(row, "used_us", 0) / USEC_PER_HOUR,
			(double)wire_int(row, "idle_us", 0) / USEC_PER_HOUR);
		put_wait(out, row, "waited_median_us");
		put_wait(out, row, "waited_95_us");
		fputs("\r\n", out);
	}
}
