"""dllama's ids on the golden prompt, round trips of any bytes, linearithmic merging, bad files."""

import json
import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.errors import TokenizerError
from dllama_engine.formats.vocab import Vocab, encode_vocab, write_tokenizer
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.synthetic.vocab import synthetic_vocab
from dllama_engine.text.bpe import MergeTable, merge
from dllama_engine.text.tokenizer import Tokenizer, read_tokenizer, vocab_remark
from tests.data import MODELS as GOLDEN

EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
BYTES = tuple(bytes([byte]) for byte in range(256))
golden = read_tokenizer(GOLDEN / "golden.t")  # holds every byte but 0, which ends C's strings
synthetic = Tokenizer(synthetic_vocab(400))


def vocab(merged, special=("<s>", "</s>"), single=BYTES):
    """Single bytes, then merged tokens with falling scores (or pairs of token and score)."""
    pairs = [m if isinstance(m, tuple) else (m, -1.0 - i) for i, m in enumerate(merged)]
    tokens = (*single, *(token.encode() for token, _ in pairs), *(s.encode() for s in special))
    scores = (*[0.0] * len(single), *(score for _, score in pairs), *[0.0] * len(special))
    bos = len(tokens) - len(special)
    return Vocab(tokens, scores, bos, (bos + 1,))


def pieces(tokenizer, text):
    return [tokenizer.vocab.tokens[i].decode() for i in tokenizer.encode(text, add_bos=False)]


def merge_slowly(tokenizer, ids):
    """dllama's own loop: look at all pairs, merge the leftmost best, start again."""
    ids = list(ids)
    index = {token: i for i, token in enumerate(tokenizer.vocab.tokens[: tokenizer.vocab.bos_id])}
    while True:
        best, best_at, best_id = -1e10, -1, -1
        for at in range(len(ids) - 1):
            pair = tokenizer.vocab.tokens[ids[at]] + tokenizer.vocab.tokens[ids[at + 1]]
            merged = index.get(pair)
            if merged is not None and tokenizer.vocab.scores[merged] > best:
                best, best_at, best_id = tokenizer.vocab.scores[merged], at, merged
        if best_at < 0:
            return ids
        ids[best_at : best_at + 2] = [best_id]


@pytest.mark.parametrize("run", EXPECTED["runs"])
def test_golden_prompt_has_dllamas_ids(run):
    assert golden.encode(EXPECTED["prompt"]) == EXPECTED["runs"][run]["input_ids"]


def test_golden_file_is_read_and_written_to_the_byte(tmp_path):
    assert (golden.vocab.bos_id, golden.vocab.eos_ids, golden.vocab.add_bos) == (
        508,
        (509, 511),
        True,
    )
    assert golden.vocab.chat_template.startswith("{% for m in messages %}<|start_header_id|>")
    assert (len(golden.vocab.tokens), golden.vocab.max_token_length) == (512, 9)
    write_tokenizer(tmp_path / "copy.t", golden.vocab)
    assert (tmp_path / "copy.t").read_bytes() == (GOLDEN / "golden.t").read_bytes()


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_come_back(data):
    ids = synthetic.encode(data, add_bos=False)
    assert b"".join(synthetic.vocab.tokens[i] for i in ids) == data


@settings(deadline=None)
@given(st.text(max_size=200).filter(lambda text: "s>" not in text))
def test_any_text_streams_back(text):
    stream = synthetic.stream_decoder()
    assert "".join(map(stream.push, synthetic.encode(text))) + stream.flush() == text


def test_text_of_a_command_line_that_is_no_utf8_comes_back():
    assert (
        golden.decode(golden.encode(b"\xff\xfe!".decode(errors="surrogateescape"))) == b"\xff\xfe!"
    )
    with pytest.raises(TokenizerError, match="character 2 of the text is a lone surrogate"):
        golden.encode("ab\ud800")


@settings(deadline=None)
@given(st.text(alphabet="theandigor wl", max_size=60))
def test_merges_are_those_of_the_slow_loop(text):
    ids = golden.encode(text, add_bos=False)
    assert ids == merge_slowly(golden, text.encode())


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(alphabet="ab", min_size=2, max_size=5),
        st.sampled_from([-1.0, -2.0, -3.0]),
        max_size=8,
    ),
    st.text(alphabet="ab", max_size=40),
)
def test_equal_scores_merge_the_leftmost_first(merged, text):
    tokenizer = Tokenizer(vocab(list(merged.items())))
    assert tokenizer.encode(text, add_bos=False) == merge_slowly(tokenizer, text.encode())


def test_ties_go_left():
    assert pieces(Tokenizer(vocab([("aa", -1.0)])), "aaaaa") == ["aa", "aa", "a"]
    assert pieces(Tokenizer(vocab([("ab", -1.0), ("ba", -1.0)])), "aba") == ["ab", "a"]
    assert pieces(Tokenizer(vocab([("ab", -2.0), ("ba", -1.0)])), "aba") == ["a", "ba"]


def test_scores_as_low_as_dllamas_floor_never_merge():
    assert pieces(Tokenizer(vocab([("ab", -1e10)])), "ab") == ["a", "b"]


class CountingTable(MergeTable):
    """Counts the pairs that merging looks up."""

    n_looked_up = 0

    def merged(self, left, right):
        self.n_looked_up += 1
        return super().merged(left, right)


@pytest.mark.parametrize("text", ["a", "ab", "the wind and the other thing "])
def test_merging_looks_at_a_pair_a_constant_number_of_times(text):
    merges = ["a" * 2**k for k in range(1, 12)] + ["ab" * 2**k for k in range(11)]
    words = vocab([*merges, *(t.decode() for t in golden.vocab.tokens[256:500])])
    n = 100_000
    ids = list((text * n)[:n].encode())
    table = CountingTable(words.tokens[: words.bos_id], words.scores)
    merged = merge(ids, table)
    # Each token is looked up once at the start; each merge checks one pair and offers two, and each
    # offer is looked at once more when it leaves the heap. There are at most n - 1 merges.
    assert table.n_looked_up <= 6 * n
    assert b"".join(words.tokens[i] for i in merged) == bytes(ids)


def test_special_tokens_are_matched_literally_and_first():
    tokenizer = Tokenizer(vocab(["<|", "|>"], special=("<s>", "<|end|>", "<|end|>x", "<|")))
    bos = tokenizer.vocab.bos_id
    assert tokenizer.encode("a<s>b") == [bos, 97, bos, 98]
    assert tokenizer.encode("<|end|>x", add_bos=False) == [bos + 1, ord("x")]  # the lowest id wins
    assert tokenizer.encode("<|e", add_bos=False) == [bos + 3, ord("e")]
    assert tokenizer.encode("<<|end|>>", add_bos=False) == [60, bos + 1, 62]


def test_bos_is_the_file_s_choice_unless_asked():
    assert golden.encode("the")[0] == 508
    assert golden.encode("the", add_bos=False)[0] != 508
    without = Tokenizer(replace(golden.vocab, add_bos=False))
    assert without.encode("the")[0] != 508
    assert without.encode("the", add_bos=True)[0] == 508
    assert without.encode("") == []


def test_bytes_gather_until_they_are_a_token():
    tokenizer = Tokenizer(vocab(["ab", "한", "abc"], single=(b"c", b"d")))
    assert pieces(tokenizer, "abc한d") == ["abc", "한", "d"]


@pytest.mark.parametrize(("text", "at"), [("abx", 2), ("xab", 0), ("aba", 2), ("c<s>a</s>", 4)])
def test_bytes_that_no_token_holds_are_named_with_their_place(text, at):
    tokenizer = Tokenizer(vocab(["ab"], single=(b"c",)))
    with pytest.raises(
        TokenizerError, match=f"no token holds the bytes 0x.. .*at byte {at} of the"
    ):
        tokenizer.encode(text + "c" * 3)


def test_of_equal_tokens_the_one_of_dllamas_binary_search_is_used():
    single = (b"c", b"a", b"b", b"a", b"a")  # sorted: ids 1 3 4 2 0; the middle is id 4
    tokenizer = Tokenizer(vocab([], single=single))
    assert tokenizer.encode("abc", add_bos=False) == [4, 2, 0]


def test_streaming_holds_back_what_is_not_complete():
    stream = golden.stream_decoder()
    assert [stream.push(i) for i in "é한".encode()] == ["", "é", "", "", "한"]
    assert stream.flush() == ""


def test_streaming_never_loses_the_text_after_invalid_bytes():
    stream = golden.stream_decoder()
    assert "".join(map(stream.push, b"\xed\x95the \xff\xc3(")) == "�the ��("
    assert stream.push(0xC3) == ""
    assert stream.push(509) == "�"  # eos ends the text
    assert stream.push(ord("a")) == "a"


def test_bos_and_eos_print_nothing_and_other_special_tokens_do():
    assert golden.decode([508, 97, 509, 510, 511]) == b"a<|start|>"
    with pytest.raises(TokenizerError, match="token id 512 is outside the vocabulary of 512"):
        golden.decode([512])
    with pytest.raises(TokenizerError, match="token id -1"):
        golden.stream_decoder().push(-1)


def test_a_vocabulary_that_is_not_the_models_is_remarked_on():
    assert vocab_remark(parse_shape("tiny-llama"), golden.vocab) is None
    shorter = vocab_remark(parse_shape("llama-7b"), golden.vocab)
    assert shorter == (
        "The tokenizer has 512 tokens, the model's vocabulary 32000: ids from 512 on print nothing"
    )
    longer = vocab_remark(parse_shape("tiny-llama,vocab_size=300"), golden.vocab)
    assert longer is not None
    assert longer.endswith("tokens from 300 on are never used; the model does not know bos (508)")


def test_an_id_of_the_model_without_a_token_prints_nothing():
    tokenizer = Tokenizer(golden.vocab, 514)
    assert tokenizer.decode([97, 512, 513, 98]) == b"ab"
    stream = tokenizer.stream_decoder()
    assert [stream.push(token_id) for token_id in (0xC3, 513, 0xA9)] == ["", "", "é"]
    with pytest.raises(TokenizerError, match="token id 514 is outside the vocabulary of 512"):
        tokenizer.piece(514)


# The vocabulary lacks a token for the byte 0.
@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
def test_ids_beyond_the_model_are_never_encoded(text):
    tokenizer = Tokenizer(golden.vocab, 300)
    ids = tokenizer.encode("<|start|>" + text)
    assert max(ids) < 300
    assert tokenizer.decode(ids) == ("<|start|>" + text).encode()


SMALL = vocab(["ab", "abc"])
SMALL_BYTES = encode_vocab(SMALL)


def header(change, magic=0x567124):
    """SMALL's file with other header pairs; None drops a pair."""
    pairs = {3: 258, 0: 1, 1: 260, 2: 4, 9: 1, 10: 1} | change
    body = b"".join(struct.pack("<ii", k, v) for k, v in pairs.items() if v is not None)
    return struct.pack("<Ii", magic, 8 + len(body)) + body + SMALL_BYTES[8 + 8 * 6 :]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes, too short"),
        (SMALL_BYTES[:6], "too short for a header"),
        (header({}, magic=0x567123), "old format 0x567123"),
        (header({}, magic=0x0A00ABCD), "magic at offset 0 is 0xa00abcd, expected 0x567124"),
        (SMALL_BYTES[:30], "header size at offset 4 is 56"),
        (header({})[:4] + struct.pack("<i", -8) + header({})[8:], "header size at offset 4 is -8"),
        (header({}) + b"x", "1 trailing bytes after the last token"),
        (SMALL_BYTES[:-1], r"token 259 at offset \d+ has 4 bytes, 3 are left"),
        (SMALL_BYTES[:-6], "the file ends at token 259 of 260; truncated"),
        (header({11: 1}), "unknown header key 11 at offset 56"),
        (header({0: 0}), "version 0, expected 1"),
        (header({0: None}), "version None, expected 1"),
        (header({1: None}), "vocab_size is missing"),
        (header({1: -1}), "vocab_size is -1"),
        (header({1: 2**31 - 1}), r"vocab_size is 2147483647, but .* hold at most \d+ tokens"),
        (header({1: 259}), r"\d+ trailing bytes"),
        (header({2: 0}), "max_token_length is 0"),
        (header({2: 3}), "the longest token has 4 bytes, max_token_length is 3"),
        (header({3: None}), "bos_id is missing"),
        (header({3: 260}), "bos_id is 260, expected 0 to 259"),
        (header({4: 999}), "eos id is 999"),
        (header({7: -1}), "template at offset 64 has -1 bytes"),
        (header({7: 2**31 - 1}), r"template at offset 64 has 2147483647 bytes, \d+ are left"),
        (header({8: 2**31 - 1}), "chat stop at offset 64"),
        (header({9: 2**31 - 1}), "eos ids at offset 56 has 8589934588 bytes"),
        (header({9: -1}), "eos ids at offset 56 has -4 bytes"),
    ],
)
def test_bad_files_are_refused(tmp_path, data, words):
    path = tmp_path / "bad.t"
    path.write_bytes(data)
    with pytest.raises(TokenizerError, match=words) as caught:
        read_tokenizer(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            struct.pack("<fI", -1.0, 2),
            struct.pack("<fI", math.nan, 2),
            "token 256 has the score nan",
        ),
        (struct.pack("<fI", -1.0, 2) + b"ab", struct.pack("<fI", -1.0, 0), "token 256 is empty"),
    ],
)
def test_bad_tokens_are_refused(tmp_path, old, new, words):
    path = tmp_path / "bad.t"
    path.write_bytes(SMALL_BYTES.replace(old, new))
    with pytest.raises(TokenizerError, match=words):
        read_tokenizer(path)


def test_old_keys_are_read(tmp_path):
    path = tmp_path / "old.t"
    body = header({9: None, 10: None, 4: 259, 6: 97, 5: 3, 7: 4, 8: 3})
    at = 8 + 8 * 9
    path.write_bytes(body[:at] + b"xyz[T]!" + body[at + 4 :])
    old = read_tokenizer(path).vocab
    assert (old.eos_ids, old.add_bos, old.chat_template) == ((259, 97), True, "[T]!")


def test_missing_files_and_huge_ones_are_refused(tmp_path):
    with pytest.raises(TokenizerError, match="No such file"):
        read_tokenizer(tmp_path / "none.t")
    path = tmp_path / "huge.t"
    with open(path, "wb") as file:
        file.write(SMALL_BYTES)
        file.truncate(300 << 20)
    with pytest.raises(TokenizerError, match="more than 268435456 bytes"):
        read_tokenizer(path)
