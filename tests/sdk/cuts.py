"""Responses that are cut again and again, as OpenAI's Python SDK sees them: through the proxy, to the very last event."""

import asyncio
import unittest

import openai
from cutting import CUT, EVERYTHING, Cutting, planned, rest

# At the end of an event, in its midst, and before its last byte.
WAYS = [("reset", ""), ("reset", "+40"), ("close", "+1"), ("close", "+999999")]


class Cuts(Cutting):
    def ended(self):
        """A response that has ended, and its events."""
        name = rest(self.direct.responses.create(background=True, stream=True, **EVERYTHING))[0].response.id
        return name, self.whole(name)

    def test_an_ended_response_is_read_whole(self):
        name, whole = self.ended()
        for every in (1, 2, 3, 7, len(whole) - 1, len(whole), len(whole) + 1):
            # The more cuts there are, the fewer ways.
            for how, more in WAYS[:: 3 if every < 3 else 1]:
                with self.subTest(every=every, how=how, more=more):
                    events = []
                    cuts = self.resume(events, name, f"{how} {every}{more}")
                    self.same(events, whole)
                    self.assertEqual(cuts, len(whole) // every)

    def test_half_of_the_first_event_is_nothing(self):
        name, _ = self.ended()
        for how in ("reset", "close"):
            events = []
            stream = self.proxied.responses.retrieve(name, stream=True, **planned(f"{how} 0+999999"))
            self.assertFalse(self.read(events, stream))
            self.assertEqual(events, [])

    def test_half_of_any_event_is_nothing_wherever_it_ends(self):
        """In the midst of a character too."""
        name, whole = self.ended()
        [at] = [event.sequence_number for event in whole if getattr(event, "delta", None) == "👩‍🚀"]
        for more in range(1, 400, 3):
            events = []
            plan = planned(f"close 1+{more}")
            stream = self.proxied.responses.retrieve(name, stream=True, starting_after=at - 2, **plan)
            self.assertFalse(self.read(events, stream))
            self.same(events, whole[at - 1 : at])

    def test_an_asynchronous_reader_reads_it_whole(self):
        name, whole = self.ended()
        for every in (1, 7):
            self.same(asyncio.run(self.read_asynchronously(name, f"reset {every}+40")), whole)

    async def read_asynchronously(self, name, plan):
        events = []
        async with openai.AsyncOpenAI(base_url=str(self.proxied.base_url), api_key="any", max_retries=0) as client:
            while True:
                after = {"starting_after": events[-1].sequence_number} if events else {}
                stream = await client.responses.retrieve(name, stream=True, **after, **planned(plan))
                try:
                    async with stream:
                        async for event in stream:
                            events.append(event)
                    return events
                except CUT:
                    pass

    def test_a_running_response_is_read_whole(self):
        for every in (1, 2, 3, 7, 19):
            with self.subTest(every=every):
                how, more = WAYS[every % len(WAYS)]
                plan, events = f"{how} {every}{more}", []
                first = self.proxied.responses.create(background=True, stream=True, **EVERYTHING, **planned(plan))
                self.assertFalse(self.read(events, first))
                name = events[0].response.id
                cuts = 1 + self.resume(events, name, plan)
                whole = self.whole(name)
                self.same(events, whole)
                self.assertEqual(cuts, len(whole) // every)
                self.assertEqual(self.direct.responses.retrieve(name), whole[-1].response)

    def test_a_response_that_was_still_queued_is_read_whole(self):
        """The server does one thing at a time, and is kept busy until the reader has been cut and waits again."""
        responses = self.direct.responses
        with responses.create(background=True, stream=True, model="scripted", input="Talk for ever.") as busy:
            running = next(event.response.id for event in busy if event.type == "response.in_progress")
        for every, seen in [(1, ["response.created"]), (2, ["response.created", "response.queued"])]:
            events = []
            first = self.proxied.responses.create(background=True, stream=True, **EVERYTHING, **planned(f"reset {every}"))
            self.assertFalse(self.read(events, first))
            self.assertEqual([event.type for event in events], seen)
            name = events[0].response.id
            self.assertEqual(responses.retrieve(name).status, "queued")
        waiting = self.proxied.responses.retrieve(name, stream=True, starting_after=1, **planned("reset 3+40"))
        responses.cancel(running)
        self.assertFalse(self.read(events, waiting))
        self.resume(events, name, "reset 5")
        self.same(events, self.whole(name))


if __name__ == "__main__":
    unittest.main()
