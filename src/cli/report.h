/* SPDX-License-Identifier: MIT */
/* A report for spreadsheets. */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* Rows of a report, each with a name, as RFC 4180. What a spreadsheet would take for a formula
 * begins with an apostrophe. */
void report_print_csv(FILE *out, const char *by, json_t *rows);
