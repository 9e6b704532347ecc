"""Refusals of requests that the schema allows: only for reasons that no schema can say.

In the place of schemathesis' own check `positive_data_acceptance`, which cannot tell those from what was forgotten in the schema.
"""

import schemathesis

# Parts of messages, each a rule about more than one field, about what is stored, or about what a model knows.
UNSAYABLE = (
    # A conversation ends with what is answered, and says something.
    "is empty: write what you want to ask",
    "must end with a message of the user",
    "says nothing: there is nothing to compact",
    # Limits are in bytes of UTF-8, where schemas count characters.
    "bytes",
    # What is named has to be there.
    "is not one of those that exist",
    "names no item of this response",
    "there is no response",
    "lies behind the end of this stream",
    "answers no call that was made before it",
    "is broken: send the item as it was given",
    # One field decides about another.
    "send a content, a refusal or tool_calls",
    "send an input, or a previous_response_id",
    "is for streams",
    "is not for streams",
    "is not the same as max_completion_tokens",
    "asks for a tool, and there is none in tools",
    "needs store",
    "text.format.name is missing",
    "text.format.schema is missing",
    # What only some models know is theirs to refuse. The document names parameters, not models.
    "does not take",
    "is not taken",
)


@schemathesis.check
def refuses_what_the_schema_allows_only_for_what_it_cannot_say(ctx, response, case):
    generation = case.meta.generation if case.meta else None
    if generation is None or not generation.mode.is_positive or response.status_code not in (400, 422):
        return
    # What is no WebSocket is refused for that.
    if case.method == "GET" and case.operation.path == "/v1/responses":
        return
    message = response.json()["error"]["message"]
    assert any(part in message for part in UNSAYABLE), f"the schema allows it, and it is refused: {message}"
