"""lm-eval, the usual harness for evaluations, asks the server for log-likelihoods ("local-completions", by echo and
logprobs) and for answers. They must be those of the model's logits, whatever the harness asks at once.

python local_completions.py PROGRAM SOURCE_FOLDER
"""

import math
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "LMEVAL_LOG_LEVEL": "ERROR",
}

import datasets
import numpy
from lm_eval import simple_evaluate, utils
from lm_eval.models.openai_completions import LocalCompletionsAPI

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))
from serving import Program, Server, run_all  # noqa: E402

TOLERANCE = 1e-4
MAX_LENGTH = 64  # of what the harness sends: the long text below takes several windows

QUESTIONS = [
    ("A hammer is", [" a tool for hitting nails.", " a river.", " the sea"], 0),
    ("A river is", [" a tool for hitting nails.", " a long stream of water that flows to the sea."], 1),
    ("Question: What shows the time?\nAnswer:", [" A clock.", " A hammer.", " Öl"], 0),
    ("Once upon a time", [", a brave boy", " there was", "ly"], 0),
    ("The capital of France is ", ["Paris", "Berlin"], 0),
]


def task(name, docs, **more):
    data = {"test": datasets.Dataset.from_list(docs)}
    return {"task": name, "custom_dataset": lambda **_: data, "test_split": "test", "target_delimiter": ""} | more


class World:
    def __init__(self, program, source):
        self.qwill = Program(program)
        self.nib = Path(source) / "models/nib"
        self.long_text = (Path(source) / "models/heldout.txt").read_text()[:800]

    def evaluate(self, **options):
        """What the harness makes of three small tasks: the samples of each."""
        tasks = [
            task(
                "questions",
                [{"question": q, "choices": c, "answer": a} for q, c, a in QUESTIONS],
                output_type="multiple_choice",
                doc_to_text="{{question}}",
                doc_to_choice="{{choices}}",
                doc_to_target="answer",
                metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            ),
            task(
                "texts",
                [{"text": text} for text in ("Once upon a time", "Ö", self.long_text)],
                output_type="loglikelihood_rolling",
                doc_to_text="",
                doc_to_target="{{text}}",
                metric_list=[
                    {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}
                ],
            ),
            task(
                "answers",
                [{"question": q} for q, _, _ in QUESTIONS],
                output_type="generate_until",
                doc_to_text="{{question}}",
                doc_to_target="",
                generation_kwargs={"until": ["\n", "."], "max_gen_toks": 12},
                metric_list=[{"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}],
            ),
        ]
        with Server(self.qwill) as server:
            model = LocalCompletionsAPI(
                model="nib",
                base_url=server.url + "/v1/completions",
                tokenizer=str(self.nib),
                tokenizer_backend="huggingface",
                max_length=MAX_LENGTH + 1,
                **options,
            )
            self.model = model
            return simple_evaluate(model, tasks=tasks, log_samples=True, bootstrap_iters=0)["samples"]

    def log_softmax(self, ids):
        """[positions, vocab_size] in float64, from `qwill logits`."""
        with tempfile.TemporaryDirectory(prefix="qwill-lm-eval-") as folder:
            out = Path(folder) / "logits.npy"
            done = self.qwill("logits", "--threads", "1", "--token-ids", ",".join(map(str, ids)), "--out", out)
            assert done.status == 0, done
            logits = numpy.load(out).astype(numpy.float64)
        largest = logits.max(axis=1, keepdims=True)
        return logits - largest - numpy.log(numpy.exp(logits - largest).sum(axis=1, keepdims=True))

    def loglikelihood(self, context, continuation):
        """Of the second's ids behind the first's, and whether each is the likeliest."""
        rows = self.log_softmax(context + continuation)[len(context) - 1 : -1]
        picked = [row[token] for row, token in zip(rows, continuation, strict=True)]
        return math.fsum(picked), all(p == row.max() for p, row in zip(picked, rows, strict=True))

    def tokens(self, text):
        return [int(word) for word in self.qwill("tokenize", stdin=text.encode()).out.split()]


def test_harness(checks, world):
    first = world.evaluate()
    together = world.evaluate(batch_size=3, num_concurrent=4)
    for name in first:
        checks.equal(responses(together[name]), responses(first[name]), name)

    greedy = 0
    for sample, (question, choices, _) in zip(first["questions"], QUESTIONS, strict=True):
        for choice, (got, got_greedy) in zip(choices, [one[0] for one in sample["resps"]], strict=True):
            # The harness counts a space at the end of a question to the choice.
            context, whole = world.tokens(question.rstrip()), world.tokens(question + choice)
            wanted, wanted_greedy = world.loglikelihood(context, whole[len(context) :])
            checks.that(abs(got - wanted) < TOLERANCE, f"{question}{choice}: got {got}, wanted {wanted}")
            checks.equal(got_greedy, wanted_greedy, question + choice)
            greedy += wanted_greedy
    checks.that(1 < greedy < 10, f"{greedy} choices are what the model would say")
    checks.equal([sample["acc"] for sample in first["questions"]][:3], [1.0] * 3)

    windows = 0
    for sample in first["texts"]:
        text = sample["doc"]["text"]
        wanted = []
        for window in utils.get_rolling_token_windows(
            world.tokens(text), world.model.prefix_token_id, MAX_LENGTH - 1, 1
        ):
            context, continuation = utils.make_disjoint_window(window)
            wanted.append(world.loglikelihood(list(context), list(continuation))[0])
            windows += 1
        got = sample["resps"][0][0]
        got = got[0] if isinstance(got, (list, tuple)) else got
        checks.that(abs(got - math.fsum(wanted)) < TOLERANCE * len(wanted), f"{text}: got {got}, wanted {wanted}")
    checks.that(windows > 4, f"{windows} windows")

    for sample, (question, _, _) in zip(first["answers"], QUESTIONS, strict=True):
        stops = ("--stop", "\n", "--stop", ".")
        done = world.qwill(
            *("generate", "--threads", "1", "--temperature", "0", "--max-tokens", "12", *stops, "--prompt", question)
        )
        checks.equal(sample["resps"][0][0], done.out.decode().removesuffix("\n"), question)


def responses(samples):
    return [(sample["doc_id"], sample["resps"]) for sample in samples]


if __name__ == "__main__":
    sys.exit(run_all([test_harness], World(*sys.argv[1:3])))
