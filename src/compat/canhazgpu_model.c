/* SPDX-License-Identifier: MIT */
/*
 * Which model a command serves or trains, as far as its command line tells: --model NAME of any
 * program, the word behind "serve" of vllm, pretrained=NAME of lm_eval.
 */
#include <string.h>

#include "base/text.h"
#include "compat/canhazgpu.h"

#define MODEL_MAX 50 /* bytes shown; longer ones are cut */

static bool ends_with(const char *word, const char *end)
{
	size_t n = strlen(word), m = strlen(end);

	return n >= m && strcmp(word + n - m, end) == 0;
}

/* The model in the arguments of lm_eval: "pretrained=a/b,dtype=auto". NULL: there is none. */
static const char *pretrained(char *arguments)
{
	char *model = arguments ? strstr(arguments, "pretrained=") : NULL;

	if (!model)
		return NULL;
	model += strlen("pretrained=");
	model[strcspn(model, ",")] = '\0';
	return model;
}

/* text is written to; the result points into it. */
static const char *find(char *text)
{
	const char *model = NULL, *served = NULL;
	bool vllm = false, lm_eval = false;
	char *arguments = NULL, *cursor = text, *word;
	const char *last = "";

	while ((word = strsep(&cursor, " '\""))) {
		if (!*word)
			continue;
		vllm |= ends_with(word, "vllm") || strstr(word, "vllm.");
		lm_eval |= ends_with(word, "lm_eval");
		if (strcmp(last, "--model_args") == 0)
			arguments = word;
		else if (strcmp(last, "--model") == 0 && !model)
			model = word;
		else if (strncmp(word, "--model=", 8) == 0 && !model)
			model = word + 8;
		else if (strcmp(last, "serve") == 0 && *word != '-' && !served)
			served = word;
		last = word;
	}
	if (lm_eval)
		return pretrained(arguments);
	return model ? model : vllm ? served : NULL;
}

json_t *chg_model(const char *command)
{
	_cleanup_(freep) char *text = strdup(command);
	const char *model = text ? find(text) : NULL;
	_cleanup_(freep) char *shown = NULL;
	json_t *object;

	if (!model || !*model)
		return NULL;
	shown = text_format("%.*s%s", MODEL_MAX, model, strlen(model) > MODEL_MAX ? "..." : "");
	if (!shown)
		return NULL;
	text_sanitize(shown);
	object = json_object();
	if (strchr(model, '/') > model)
		json_object_set_new(object, "provider",
			json_stringn(shown, MIN(strcspn(model, "/"), strlen(shown))));
	json_object_set_new(object, "model", json_string(shown));
	return object;
}
