/* SPDX-License-Identifier: MIT */
/* A frame from a stranger. What is accepted keeps its promises and can be sent back. */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "fuzz.h"
#include "proto/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(call_clear) struct call call = {};
	_cleanup_(freep) char *reply = NULL, *again = NULL;
	struct error err = {};
	json_auto_t *echoed = NULL;

	if (call_parse((const char *)data, size, &call, &err) < 0) {
		_cleanup_(freep) char *fault = message_fault(&err);

		REQUIRE(!call.message && err.id && *err.text);
		REQUIRE(text_is_utf8(err.text) && !strpbrk(err.text, "\n\x1b\x7f"));
		REQUIRE(fault);
		return 0;
	}
	REQUIRE(!err.id);
	REQUIRE(*call.method && !strpbrk(call.method, " \"'\n\x1b\x7f%"));
	REQUIRE(json_is_object(call.parameters));
	REQUIRE(!(call.more && call.oneway));
	reply = message_reply(call.parameters, call.more);
	again = message_error(call.method, call.parameters);
	REQUIRE(reply && again);
	echoed = json_loads(reply, JSON_REJECT_DUPLICATES, NULL);
	REQUIRE(json_equal(json_object_get(echoed, "parameters"), call.parameters));
	return 0;
}
