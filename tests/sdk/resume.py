"""A server that dies in mid-response and comes back, as OpenAI's Python SDK sees it. Whoever runs this restarts it."""

import os
import signal
import unittest

import openai
from cutting import CUT


class Resume(unittest.TestCase):
    def test_a_response_goes_on_after_the_server_has_died_to_its_very_last_event(self):
        url = os.environ["TOKENWIRE_URL"] + "v1"
        with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
            events = []
            stream = client.responses.create(model="scripted", input="Talk on.", background=True, stream=True)
            with self.assertRaises(CUT), stream:
                for event in stream:
                    events.append(event)
                    if len(events) == 8:
                        os.kill(int(os.environ["TOKENWIRE_PID"]), signal.SIGKILL)
            print("cut", flush=True)
            input()
            name, after = events[0].response.id, events[-1].sequence_number
            with client.responses.retrieve(name, stream=True, starting_after=after) as rest:
                events += rest
            self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
            self.assertEqual(events[-1].type, "response.completed")
            deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            self.assertEqual(deltas, events[-1].response.output_text)
            with client.responses.retrieve(name, stream=True) as again:
                self.assertEqual(list(again), events)
            self.assertEqual(client.responses.retrieve(name), events[-1].response)


if __name__ == "__main__":
    unittest.main()
