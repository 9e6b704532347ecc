"""A call that is lost on its way there or back and repeated by OpenAI's Python SDK: one generation, if the call has a key."""

import os
import unittest
import uuid

import httpx
import openai
from cutting import EVERYTHING, client_of, rest

GREETING = "Hello,\n👩‍🚀!"
ASKED = {"model": "scripted", "input": "Greet me."}
SAID = {"model": "scripted", "messages": [{"role": "user", "content": "Greet me."}]}
# The request does not arrive; the answer is replaced by a failure; the answer never comes.
LOSSES = ["refuse", "swallow", "lose"]


class Retry(unittest.TestCase):
    def setUp(self):
        self.client = client_of("TOKENWIRE_PROXY", max_retries=2)
        self.addCleanup(self.client.close)
        self.http = httpx.Client()
        self.addCleanup(self.http.close)
        self.name = str(uuid.uuid4())

    def planned(self, plan, **headers):
        return {"extra_headers": {"Proxy-Plan": plan, "Proxy-Call": self.name, **headers}}

    def calls(self):
        """How often the proxy was asked."""
        return int(self.http.get(f"{os.environ['TOKENWIRE_PROXY']}proxy/calls/{self.name}").text)

    def accepted(self):
        """How many generations the server has begun, as it tells its operator."""
        lines = self.http.get(os.environ["TOKENWIRE_METRICS"]).text.splitlines()
        return sum(int(line.split()[-1]) for line in lines if line.startswith("tokenwire_generations_accepted_total{"))

    def ways(self):
        """Every way to ask, and what the answer says."""

        def events(**more):
            events = rest(self.client.responses.create(stream=True, **more))
            self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
            return events[-1].response

        def chunks(**more):
            return "".join(chunk.choices[0].delta.content or "" for chunk in rest(self.client.chat.completions.create(stream=True, **more)))

        yield "response", lambda **more: self.client.responses.create(**ASKED, **more).output_text
        yield "events", lambda **more: events(**ASKED, **more).output_text
        yield "events in the background", lambda **more: events(**EVERYTHING, background=True, **more).status
        yield "completion", lambda **more: self.client.chat.completions.create(**SAID, **more).choices[0].message.content
        yield "chunks", lambda **more: chunks(**SAID, **more)

    def test_a_repeated_call_has_a_whole_answer_and_one_generation_if_it_has_a_key(self):
        for kind, ask in self.ways():
            for plan in LOSSES:
                for keyed in (True, False):
                    with self.subTest(kind=kind, plan=plan, keyed=keyed):
                        self.name = str(uuid.uuid4())
                        key = {"Idempotency-Key": self.name} if keyed else {}
                        before = self.accepted()
                        self.assertIn(ask(**self.planned(plan, **key)), (GREETING, "completed"))
                        self.assertEqual(self.calls(), 2)
                        begun = 1 if keyed or plan == "refuse" else 2
                        self.assertEqual(self.accepted() - before, begun)

    def test_a_key_names_one_generation(self):
        key = {"Idempotency-Key": self.name}
        first = self.client.responses.create(background=True, **EVERYTHING, **self.planned("lose", **key))
        again = self.client.responses.create(background=True, **EVERYTHING, extra_headers=key)
        self.assertEqual((again.id, again.created_at), (first.id, first.created_at))

    def test_what_can_have_no_other_answer_is_asked_for_once(self):
        key = {"Idempotency-Key": self.name}
        self.client.responses.create(**ASKED, extra_headers=key)
        self.client.chat.completions.create(**SAID, extra_headers=key)
        before = self.accepted()
        for call, asked, other in [
            (self.client.responses.create, ASKED, {"input": "Think first."}),
            (self.client.chat.completions.create, SAID, {"messages": [{"role": "user", "content": "Think first."}]}),
        ]:
            for stream in (False, True):
                self.name = str(uuid.uuid4())
                with self.assertRaises(openai.ConflictError) as raised:
                    call(**{**asked, **other}, stream=stream, **self.planned("", **key))
                self.assertEqual(raised.exception.response.headers["x-should-retry"], "false")
                self.assertEqual(self.calls(), 1)
        self.assertEqual(self.accepted(), before)

    def test_without_retries_the_loss_is_raised(self):
        once = self.client.with_options(max_retries=0)
        for plan, error in [("refuse", openai.InternalServerError), ("swallow", openai.InternalServerError), ("lose", openai.APIConnectionError)]:
            for stream in (False, True):
                self.name = str(uuid.uuid4())
                with self.assertRaises(error):
                    once.responses.create(**ASKED, stream=stream, **self.planned(plan))


if __name__ == "__main__":
    unittest.main()
