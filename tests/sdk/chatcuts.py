"""Chat completions that are cut, as OpenAI's Python SDK sees them: a cut raises, and what is missing can be read elsewhere."""

import os
import unittest

import httpx
from cutting import CUT, EVERYTHING, TOOLS, Cutting, planned, rest

CHAT_TOOLS = [{"type": "function", "function": {"name": tool["name"], "parameters": tool["parameters"]}} for tool in TOOLS]


def said(text, **more):
    return {"model": "scripted", "messages": [{"role": "user", "content": text}], "stream": True, **more}


def told_by_chunks(chunks):
    """Every piece of text, of reasoning and of a call's arguments, as it came."""
    for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            calls = [("call", call.function.arguments) for call in delta.tool_calls or []]
            texts = [("text", delta.content), ("thought", getattr(delta, "reasoning_content", None))]
            yield from ((kind, piece) for kind, piece in texts + calls if piece)


KINDS = {
    "response.output_text.delta": "text",
    "response.reasoning_text.delta": "thought",
    "response.function_call_arguments.delta": "call",
}


def told_by_events(events):
    return [(KINDS[event.type], event.delta) for event in events if event.type in KINDS and event.delta]


def text_frames(name, after=None):
    """Ids and texts of the pieces that /ask tells."""
    params = {} if after is None else {"last_event_id": after}
    body = httpx.get(os.environ["TOKENWIRE_URL"] + "ask/" + name, params=params).text
    for block in body.split("\n\n"):
        first, *lines = block.split("\n")
        if first.startswith("id: ") and lines[0].startswith("data: "):
            yield first.removeprefix("id: "), "\n".join(line.removeprefix("data: ") for line in lines)


class ChatCuts(Cutting):
    def test_the_rest_of_a_chat_completion_is_at_responses(self):
        """At the id of its chunks."""
        asked = said(EVERYTHING["input"], tools=CHAT_TOOLS)
        uncut = list(told_by_chunks(rest(self.direct.chat.completions.create(**asked))))
        for every, more in [(1, ""), (2, "+1"), (9, "+40"), (20, "+999999")]:
            with self.subTest(every=every, more=more):
                chunks = []
                stream = self.proxied.chat.completions.create(**asked, **planned(f"reset {every}{more}"))
                self.assertFalse(self.read(chunks, stream))
                self.assertEqual(len(chunks), every)
                self.assertTrue(all(chunk.choices[0].finish_reason is None for chunk in chunks))
                seen, name = list(told_by_chunks(chunks)), chunks[0].id
                self.assertTrue(name.startswith("chatcmpl-"))
                events = rest(self.direct.responses.retrieve(name, stream=True))
                after = next(n for n in range(len(events)) if len(told_by_events(events[: n + 1])) == len(seen))
                others = rest(self.direct.responses.retrieve(name, stream=True, starting_after=after))
                self.same(others, events[after + 1 :])
                self.assertEqual(seen + told_by_events(others), uncut)
                self.assertEqual(events[-1].type, "response.completed")

    def test_the_rest_of_a_chat_completion_is_at_ask(self):
        chunks = []
        stream = self.proxied.chat.completions.create(**said("Greet me."), **planned("reset 3+40"))
        self.assertFalse(self.read(chunks, stream))
        seen = [piece for _, piece in told_by_chunks(chunks)]
        name = chunks[0].id.removeprefix("chatcmpl-")
        frames = list(text_frames(name))
        self.assertEqual([piece for _, piece in frames], ["Hello", ",", "\n", "👩‍🚀!"])
        self.assertEqual(seen, ["Hello", ","])
        self.assertEqual(list(text_frames(name, after=frames[len(seen) - 1][0])), frames[len(seen) :])

    def test_a_cut_before_the_end_is_no_end(self):
        """All was said, but not that it was all."""
        whole = rest(self.direct.chat.completions.create(**said("Greet me.")))
        chunks = []
        stream = self.proxied.chat.completions.create(**said("Greet me."), **planned(f"close {len(whole) - 1}+999999"))
        self.assertFalse(self.read(chunks, stream))
        self.assertIsNone(chunks[-1].choices[0].finish_reason)

    def test_the_helper_raises_at_a_cut(self):
        asked = said("Greet me.")
        del asked["stream"]
        with self.proxied.chat.completions.stream(**asked, **planned("reset 3")) as stream:
            with self.assertRaises(CUT):
                stream.get_final_completion()


if __name__ == "__main__":
    unittest.main()
