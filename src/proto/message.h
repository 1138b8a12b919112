/* SPDX-License-Identifier: MIT */
/* Varlink messages: calls, replies and errors (varlink.org/Method-Call), and parameters checked
 * against a table. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "model/verdict.h"

struct call {
	char *method;       /* borrowed from message */
	json_t *parameters; /* borrowed from message; always an object */
	bool more, oneway;
	json_t *message; /* owned */
};

void call_clear(struct call *call);

/* Parses one frame. -EINVAL: not JSON, not an object, duplicate keys, unknown top-level keys,
 * ill-typed, no method name of letters, digits, dots and dashes, "upgrade" wanted, "more" together
 * with "oneway". *ret is written only on success. */
int call_parse(const char *text, size_t size, struct call *ret, struct error *err);

enum field_type {
	FIELD_INT,     /* int64_t */
	FIELD_BOOL,    /* bool */
	FIELD_STRING,  /* const char *, borrowed from the message */
	FIELD_STRINGS, /* char *, owned: the strings of an array joined by commas; an empty one or
			  a comma within one is refused */
	FIELD_INTS,    /* json_t *, borrowed: an array of integers */
	FIELD_TEXTS,   /* json_t *, borrowed: an array of any strings */
	FIELD_OBJECTS, /* json_t *, borrowed: an array of objects, to be decoded one by one */
	FIELD_TYPE_MAX,
};

/* One parameter of a method: where it goes in the handler's struct, and what it may be. */
struct field {
	const char *name;
	enum field_type type;
	size_t offset;
	bool required; /* absent and null are the same; an absent optional field leaves the struct
			  alone */
	int64_t min, max; /* FIELD_INT, and each of FIELD_INTS: value; FIELD_STRING: bytes;
			     FIELD_STRINGS, FIELD_TEXTS, FIELD_OBJECTS: members. (What else is in a
			     message, its limit bounds.) */
};

/*
 * Fills the struct at dst, whose FIELD_STRINGS members must be NULL before and are freed by
 * fields_clear. On failure returns -EINVAL, and *ret_name (borrowed from fields or parameters)
 * names the parameter that is unknown, missing, ill-typed or out of range; err has the sentence,
 * and nothing is left to be freed. -ENOMEM, with *ret_name NULL. n fields.
 */
int fields_decode(const struct field *fields, size_t n, json_t *parameters, void *dst,
	const char **ret_name, struct error *err);
void fields_clear(const struct field *fields, size_t n, void *dst);

/* Texts of replies; NULL without memory. The caller frees. parameters is borrowed. */
char *message_reply(json_t *parameters, bool continues);
char *message_error(const char *name, json_t *parameters);

/* org.dibs.Invalid / Refused / NotFree with {id, message}; the text for a verdict that is not OK.
 */
char *message_verdict(const struct verdict *verdict);

/* org.dibs.Fault with {id, message}. */
char *message_fault(const struct error *err);

/* The interface definition, org.dibs.varlink, as compiled in. */
extern const char org_dibs_varlink[];
