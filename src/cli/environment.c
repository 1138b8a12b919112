/* SPDX-License-Identifier: MIT */
#include "cli/environment.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macro.h"
#include "cli/quote.h"

int environment_set(const struct environment *environment)
{
	for (unsigned i = 0; i < environment->n; i++)
		if (setenv(environment->variables[i].name, environment->variables[i].value, 1) < 0)
			return -errno;
	return 0;
}

int environment_print(const struct environment *environment, FILE *out)
{
	if (environment->n <= ENVIRONMENT_DIBS)
		return 0;
	fputs("export", out);
	for (unsigned i = ENVIRONMENT_DIBS; i < environment->n; i++) {
		_cleanup_(freep) char *value = quote_word(environment->variables[i].value);

		if (!value)
			return -ENOMEM;
		fprintf(out, " %s=%s", environment->variables[i].name, value);
	}
	fputc('\n', out);
	return 0;
}
