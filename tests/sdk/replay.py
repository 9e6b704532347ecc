"""The streaming helper of OpenAI's Python SDK for a response that is there: it reads all of it, and shows a part."""

import unittest

from cutting import CUT, EVERYTHING, Cutting, planned, rest


def told(events):
    return [(event.sequence_number, event.type, getattr(event, "delta", None)) for event in events]


class Replay(Cutting):
    def replayed(self, name, after):
        """From the number, and what it was put together to."""
        with self.direct.responses.stream(response_id=name, starting_after=after) as stream:
            return told(stream), stream.get_final_response()

    def test_any_part_of_an_ended_response_is_shown_and_all_of_it_put_together(self):
        with self.direct.responses.stream(**EVERYTHING) as stream:
            first = stream.get_final_response()
        whole = self.whole(first.id)
        for after in (0, 1, 4, 20, len(whole) - 2):
            events, final = self.replayed(first.id, after)
            self.assertEqual(events, told(whole[after + 1 :]))
            self.assertEqual(final.output, first.output)
        with self.direct.responses.stream(response_id=first.id) as stream:
            self.assertEqual(told(stream), told(whole))

    def test_a_running_response_is_followed_to_its_end(self):
        for after in (1, 6):
            asked = {"model": "scripted", "input": "Talk for ever."}
            with self.direct.responses.create(background=True, stream=True, **asked) as create:
                first = [event for _, event in zip(range(9), create)]
            name = first[0].response.id
            with self.direct.responses.stream(response_id=name, starting_after=after) as stream:
                events = [next(stream)]
                self.direct.responses.cancel(name)
                events.extend(stream)
                # For the helper only what is completed has an end.
                with self.assertRaises(RuntimeError):
                    stream.get_final_response()
            whole = rest(self.direct.responses.retrieve(name, stream=True))
            self.assertEqual(told(events), told(whole[after + 1 :]))
            self.assertEqual((whole[-1].response.status, whole[-1].response.output_text), ("cancelled", "Once upon a time"))
        with self.direct.responses.create(background=True, stream=True, **EVERYTHING) as create:
            name = next(create).response.id
        events, final = self.replayed(name, 20)
        self.assertEqual(events, told(self.whole(name)[21:]))
        self.assertEqual(final.status, "completed")

    def test_a_cut_raises_while_a_response_is_made_and_while_it_is_replayed(self):
        with self.proxied.responses.stream(background=True, **EVERYTHING, **planned("reset 7")) as stream:
            events = []
            self.assertFalse(self.read(events, stream))
            with self.assertRaises(RuntimeError):
                stream.get_final_response()
        self.assertEqual(told(events), told(self.whole(events[0].response.id)[:7]))
        name = events[0].response.id
        events = []
        with self.proxied.responses.stream(response_id=name, starting_after=2, **planned("close 7+40")) as stream:
            self.assertFalse(self.read(events, stream))
        self.assertEqual([event.sequence_number for event in events], [3, 4, 5, 6])
        with self.proxied.responses.stream(response_id=name, **planned("close 7+40")) as stream:
            with self.assertRaises(CUT):
                stream.get_final_response()


if __name__ == "__main__":
    unittest.main()
