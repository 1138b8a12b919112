/* SPDX-License-Identifier: MIT */
/* Options of sbatch(1) in scripts. */
#pragma once

#include "cli/script.h"

/*
 * Translates the options of sbatch in words into those of dibs, which are added to line, their
 * texts to those of directives, as are notes about what has no counterpart; where is "name:line".
 * -EINVAL with a sentence.
 */
int slurm_translate(struct directives *directives, struct arguments *line, char **words,
	const char *where, struct error *err);

/* One option that is being translated; all is borrowed. */
struct slurm {
	struct directives *directives;
	struct arguments *line;
	const char *where; /* "name:line" */
	const char *word;  /* as it stands in the script */
	struct error *err;
};

/* Adds an option of dibs; takes the text, which may be NULL for lack of memory. */
int slurm_add(struct slurm *s, char *text);

/* Says what has no counterpart. */
int slurm_note(struct slurm *s, const char *fmt, ...) _printf_(2, 3);

/* -EINVAL: sbatch would not take it either. */
int slurm_wrong(struct slurm *s, const char *expected);

/* Those whose values differ from ours: each puts the options of dibs in its place, or notes why
 * there are none. */
int slurm_take_time(struct slurm *s, const char *value);
int slurm_take_output(struct slurm *s, const char *value);
int slurm_take_error(struct slurm *s, const char *value);
int slurm_take_gpus(struct slurm *s, const char *value);
int slurm_take_gres(struct slurm *s, const char *value);
int slurm_take_dependency(struct slurm *s, const char *value);
int slurm_take_begin(struct slurm *s, const char *value);
int slurm_take_signal(struct slurm *s, const char *value);
int slurm_take_nice(struct slurm *s, const char *value);
int slurm_take_export(struct slurm *s, const char *value);
int slurm_take_exclusive(struct slurm *s, const char *value);
int slurm_take_one(struct slurm *s, const char *value);
