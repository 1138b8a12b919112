/* SPDX-License-Identifier: MIT */
/* What was found: a line for each claim, a column for each gate, and below why something failed or
 * was not tried. */
#include "cli/selftest_report.h"

#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "cli/public.h"
#include "cli/table.h"

static const char *const gates[GATE_MAX] = {
	[GATE_FILTER] = "filter",
	[GATE_ACL] = "acl",
	[GATE_GPU] = "gpu",
};

static const char *const outcomes[OUTCOME_MAX] = {
	[OUTCOME_UNTRIED] = "not tried",
	[OUTCOME_OK] = "ok",
	[OUTCOME_FAILED] = "FAILED",
};

#define ON(gate)   (1u << (gate))
#define EVERYWHERE (ON(GATE_FILTER) | ON(GATE_ACL) | ON(GATE_GPU))
#define SIMULATED  (ON(GATE_FILTER) | ON(GATE_ACL))

static const struct {
	const char *name, *text;
	unsigned gates; /* where it is tried */
} claims[CLAIM_MAX] = {
	[CLAIM_WITHOUT] = { "without-lease", "without a lease a user cannot open a GPU",
		EVERYWHERE },
	[CLAIM_WITH] = { "with-lease", "with a lease they can", EVERYWHERE },
	[CLAIM_OTHER] = { "other-user", "meanwhile another user cannot", EVERYWHERE },
	[CLAIM_NAMESPACE] = { "namespace", "nor as root of a user namespace", EVERYWHERE },
	[CLAIM_KILLED] = { "daemon-killed", "it stays so when dibsd is killed", SIMULATED },
	[CLAIM_RELEASED] = { "released", "after the release nobody can", EVERYWHERE },
	[CLAIM_KEPT] = { "kept-open", "who kept it open is ended", SIMULATED },
	[CLAIM_LISTED] = { "nvidia-smi", "nvidia-smi lists it with a lease", ON(GATE_GPU) },
	[CLAIM_CUDA] = { "cuda", "CUDA counts what is leased", ON(GATE_GPU) },
	[CLAIM_SUSPEND] = { "suspend", "a process can be suspended", ON(GATE_GPU) },
	[CLAIM_MPS] = { "mps", "MPS keeps limits of memory", ON(GATE_GPU) },
	[CLAIM_RESET] = { "reset", "a GPU can be reset", ON(GATE_GPU) },
};

void result_set(struct report *report, enum gate gate, enum claim claim, enum outcome outcome,
	const char *fmt, ...)
{
	struct result *result = &report->results[gate][claim];
	va_list ap;

	result->outcome = outcome;
	va_start(ap, fmt);
	text_vprint(result->reason, sizeof(result->reason), fmt, ap);
	va_end(ap);
}

void gate_untried(struct report *report, enum gate gate, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_vprint(report->untried[gate], sizeof(report->untried[gate]), fmt, ap);
	va_end(ap);
}

/* The first claim that was not tried, and for no reason of its own. */
static enum claim next_claim(const struct report *report, enum gate gate)
{
	for (enum claim claim = 0; claim < CLAIM_MAX; claim++)
		if (claims[claim].gates & ON(gate) &&
			report->results[gate][claim].outcome == OUTCOME_UNTRIED &&
			!*report->results[gate][claim].reason)
			return claim;
	return CLAIM_WITHOUT;
}

void gate_failed(struct report *report, enum gate gate, const char *fmt, ...)
{
	struct result *result = &report->results[gate][next_claim(report, gate)];
	va_list ap;

	result->outcome = OUTCOME_FAILED;
	va_start(ap, fmt);
	text_vprint(result->reason, sizeof(result->reason), fmt, ap);
	va_end(ap);
	if (!*report->untried[gate])
		gate_untried(report, gate, "see what failed before");
}

static const char *reason(const struct report *report, enum gate gate, enum claim claim)
{
	const struct result *result = &report->results[gate][claim];

	return *result->reason || result->outcome != OUTCOME_UNTRIED ? result->reason
								     : report->untried[gate];
}

/* --- for programs --- */

static json_t *to_json(const struct report *report)
{
	json_t *array = json_array();

	for (enum claim claim = 0; claim < CLAIM_MAX; claim++)
		for (enum gate gate = 0; gate < GATE_MAX; gate++) {
			const char *why = reason(report, gate, claim);

			if (claims[claim].gates & ON(gate))
				json_array_append_new(array,
					json_pack("{ss ss ss ss?}", "check", claims[claim].name,
						"gate", gates[gate], "result",
						outcomes[report->results[gate][claim].outcome],
						"reason", *why ? why : NULL));
		}
	return array;
}

/* --- for people --- */

static void fill_claim(struct cell *cell, const struct view *view, json_t *row)
{
	cell_printf(cell, "%s", wire_text(row, "claim"));
}

static void fill_gate(struct cell *cell, json_t *row, enum gate gate)
{
	static const enum style styles[OUTCOME_MAX] = { STYLE_DIM, STYLE_GOOD, STYLE_WARN };
	int64_t outcome = wire_int(row, gates[gate], -1);

	cell_printf(cell, "%s", outcome < 0 ? "-" : outcomes[outcome]);
	cell->style = outcome < 0 ? STYLE_DIM : styles[outcome];
}

static void fill_filter(struct cell *cell, const struct view *view, json_t *row)
{
	fill_gate(cell, row, GATE_FILTER);
}

static void fill_acl(struct cell *cell, const struct view *view, json_t *row)
{
	fill_gate(cell, row, GATE_ACL);
}

static void fill_gpu(struct cell *cell, const struct view *view, json_t *row)
{
	fill_gate(cell, row, GATE_GPU);
}

static const struct column columns[] = {
	{ "", .fill = fill_claim },
	{ "FILTER", .fill = fill_filter },
	{ "ACL", .fill = fill_acl },
	{ "REAL GPU", .fill = fill_gpu },
};

/* Without a GPU, what only concerns one is left out. */
static bool is_shown(const struct report *report, enum claim claim)
{
	return claims[claim].gates != ON(GATE_GPU) || *reason(report, GATE_GPU, claim) == '\0' ||
	       *report->results[GATE_GPU][claim].reason;
}

static json_t *to_rows(const struct report *report)
{
	json_t *rows = json_array();

	for (enum claim claim = 0; claim < CLAIM_MAX; claim++) {
		json_t *row = json_pack("{ss}", "claim", claims[claim].text);

		for (enum gate gate = 0; gate < GATE_MAX; gate++)
			if (claims[claim].gates & ON(gate))
				json_object_set_new(row, gates[gate],
					json_integer(report->results[gate][claim].outcome));
		if (is_shown(report, claim))
			json_array_append_new(rows, row);
		else
			json_decref(row);
	}
	return rows;
}

static void add_note(struct notes *notes, enum gate gate, enum outcome outcome, const char *reason)
{
	struct cell cell = { 0 };

	cell_printf(&cell, "%s, %s: %s", gates[gate], outcomes[outcome], reason);
	notes_add(notes, &cell);
}

static void print_notes(const struct report *report, enum gate gate, struct notes *notes)
{
	bool untried = false;

	for (enum claim claim = 0; claim < CLAIM_MAX; claim++) {
		const struct result *result = &report->results[gate][claim];

		if (*result->reason)
			add_note(notes, gate, result->outcome, result->reason);
		else if (claims[claim].gates & ON(gate))
			untried |= result->outcome == OUTCOME_UNTRIED;
	}
	if (untried && *report->untried[gate])
		add_note(notes, gate, OUTCOME_UNTRIED, report->untried[gate]);
}

static unsigned count(const struct report *report, enum outcome outcome)
{
	unsigned n = 0;

	for (enum gate gate = 0; gate < GATE_MAX; gate++)
		for (enum claim claim = 0; claim < CLAIM_MAX; claim++)
			n += claims[claim].gates & ON(gate) &&
			     report->results[gate][claim].outcome == outcome;
	return n;
}

enum client_exit report_print(struct cli *cli, const struct report *report)
{
	unsigned failed = count(report, OUTCOME_FAILED), ok = count(report, OUTCOME_OK);
	const struct view view = { .term = &cli->term, .people = &cli->people };
	struct notes notes = { stdout, &view };
	_cleanup_(json_decrefp) json_t *json = NULL;
	enum client_exit exit = failed || !ok ? EXIT_FAULT : EXIT_OK;

	if (cli_value(cli, OPT_JSON)) {
		json = to_json(report);
		return MAX(cli_print_json(json), exit);
	}
	json = to_rows(report);
	if (table_draw(stdout, &view, columns, ELEMENTSOF(columns), json) < 0)
		return complain(EXIT_FAULT, "out of memory");
	for (enum gate gate = 0; gate < GATE_MAX; gate++)
		print_notes(report, gate, &notes);
	if (failed)
		printf("\n%u FAILED\n", failed);
	else
		printf("\n%s\n", ok ? "the gate holds" : "nothing could be tried");
	return exit;
}
