"""A replica that goes away in mid-answer, as OpenAI's Python SDK sees it. Whoever runs this has started two of them."""

import os
import signal
import unittest
import uuid

from cutting import Cutting, client_of, rest

SLOWLY = "Talk slowly."


class Replica(Cutting):
    """The readers of one replica go on at the other."""

    def setUp(self):
        self.leaving, self.direct = client_of("TOKENWIRE_LEAVING"), client_of("TOKENWIRE_URL")
        self.addCleanup(self.leaving.close)
        self.addCleanup(self.direct.close)

    def test_every_reader_of_a_replica_that_goes_away_is_cut_and_goes_on_at_another(self):
        events, chunks = [], []
        messages = [{"role": "user", "content": SLOWLY}]
        chat = self.leaving.chat.completions.create(model="scripted", messages=messages, stream=True)
        chunks.append(next(chat))
        asked = {"model": "scripted", "input": SLOWLY, "background": True, "extra_headers": {"Idempotency-Key": str(uuid.uuid4())}}
        stream = self.leaving.responses.create(stream=True, **asked)
        for event in stream:
            events.append(event)
            if len(events) == 8:
                break
        os.kill(int(os.environ["TOKENWIRE_PID"]), getattr(signal, os.environ["TOKENWIRE_SIGNAL"]))
        self.assertFalse(self.read(events, stream), "a clean end would be taken for the end of the answer")
        self.assertFalse(self.read(chunks, chat))
        self.assertTrue(all(chunk.choices[0].finish_reason is None for chunk in chunks))
        self.assertNotEqual(events[-1].type, "response.completed")

        name = events[0].response.id
        self.assertEqual(self.direct.responses.create(**asked).id, name, "the same call at the other one")
        events += rest(self.direct.responses.retrieve(name, stream=True, starting_after=events[-1].sequence_number))
        whole = self.whole(name)
        self.same(events, whole)
        self.assertEqual(self.direct.responses.retrieve(name), whole[-1].response)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        text = self.whole(chunks[0].id)[-1].response.output_text
        self.assertTrue(text.startswith(said))
        self.assertEqual(text, whole[-1].response.output_text)


if __name__ == "__main__":
    unittest.main()
