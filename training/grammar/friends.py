"""Plots about what friends do: share, wait, find and dare."""

from __future__ import annotations

from training.grammar.plot import Plot

ONE_TOY = Plot(
    "taking turns",
    (
        "found a {color} {toy} {at_place}.",
        "saw a {color} {toy} in the grass near the {place}.",
    ),
    (
        (
            "At the same time, a {fchild} named {friend} saw it too.",
            "But a {fchild} named {friend} wanted the same {toy}.",
        ),
        (
            '"It is mine," said {hero}. "No, it is mine," said {friend}.',
            '"I saw it first," said {hero}. "No, I did," said {friend}.',
        ),
        (
            "They both pulled, and the {toy} nearly broke.",
            "{Hero} pulled on one side, and {friend} pulled on the other side.",
        ),
        (
            "{A_helper} heard the noise and came to see what was wrong.",
            "Just then {a_helper} came along and looked at the two children.",
        ),
        (
            '"If you pull, it will break, and nobody can play," said the {helper}.',
            '"A {toy} is more fun for two," said the {helper}. "Can you take turns?"',
        ),
        (
            "{Hero} thought about it and felt bad.",
            "{Hero} and {friend} looked at the {toy} and were quiet.",
        ),
        (
            '"You can have it first," said {hero} to {friend}.',
            '"I am sorry," said {hero}. "Let us share it."',
        ),
        (
            "{Friend} smiled and gave {hero} some of {fher} {food}.",
            '"Thank you," said {friend}. "Tomorrow it will be your turn."',
        ),
        (
            "So they took turns and played with the {color} {toy} for a long time.",
            "So they played together with the {color} {toy} and laughed until they were tired.",
        ),
        (
            "When it was time to go home, they hid the {toy} under a big stone.",
            "In the evening they put the {toy} in a box and hid it under a tree.",
        ),
        (
            "The next day, they met {at_place} and played again.",
            "Every day after school, they met {at_place} to play.",
        ),
        (
            "They never fought about the {toy} again, because sharing made them friends.",
            "{Hero} and {friend} had found something better than a {toy}, and that was a friend.",
        ),
    ),
)

GARDEN = Plot(
    "dry garden",
    (
        "planted {flower} in the garden behind the house.",
        "got some seeds from {her} {elder} and planted {flower}.",
    ),
    (
        (
            '"Give them water every day," said {her} {elder}, "and they will grow."',
            '"They need water and sun," said {her} {elder}. "Do not forget them."',
        ),
        (
            "For a week {hero} gave them water, but then {she} forgot.",
            "At first {hero} took good care of them, but soon {she} only played with {her} {toy}.",
        ),
        (
            "The sun was hot, and no rain fell, so the ground was dry.",
            "The days were hot, and soon the ground was as hard as stone.",
        ),
        (
            "When {she} came back to the garden, the {flower} were nearly dead.",
            "Because they had no water, the {flower} were brown and weak.",
        ),
        (
            '"It is too late," {she} said to {her} friend {friend}.',
            "{Hero} felt bad and ran to {her} friend {friend} for help.",
        ),
        (
            '"Maybe we can save them," said {friend}. "Let us bring water from the river."',
            "{Friend} had a big can, and they brought water from the lake.",
        ),
        (
            "Every morning and every evening, {hero} and {friend} gave water to the {flower}.",
            "They worked all week, and {friend} made a roof of leaves for the {flower}.",
        ),
        (
            "One day {hero} saw a small green leaf.",
            "After many days, there was a new green leaf.",
        ),
        (
            "Soon the garden was full of {color} {flower}.",
            "Then the {flower} opened, and they were {color} and beautiful.",
        ),
        (
            "{Her} {elder} saw the {color} {flower} and was very proud.",
            '"What a beautiful garden!" said {her} {elder}.',
        ),
        (
            "{Hero} gave the first {flower} to {friend} to thank {fhim}.",
            "To thank {fhim}, {hero} put some {flower} in a {vessel} for {friend}.",
        ),
        (
            "{Hero} learned that what we love needs care every day.",
            "Since then, {hero} has never forgotten to give them water.",
        ),
    ),
)

OLD_KEY = Plot(
    "the old key",
    (
        "found an old key under a stone near the {place}.",
        "saw something shine near the {place}, and it was an old key.",
    ),
    (
        (
            '"What does it open?" {she} asked {her} friend {friend}.',
            "{She} showed it to {her} friend {friend}, who liked secrets.",
        ),
        (
            "They tried the key at the door of the school, but it was too small.",
            "They tried it at every door in the village, but it did not fit.",
        ),
        (
            "Then {friend} asked {a_helper}, and {hshe} laughed.",
            "{A_helper} saw the key and knew it at once.",
        ),
        (
            '"That key is from the house of your {elder}," said the {helper} to {hero}.',
            '"Your {elder} lost that key long ago," {hshe} said to {hero}.',
        ),
        (
            "So {hero} and {friend} ran to the {elder} as fast as they could.",
            "They thanked the {helper} and ran to the {elder}.",
        ),
        (
            "The {elder} took the key with a smile and brought an old box.",
            "When the {elder} saw the key, {eshe} was full of joy and brought a wooden box.",
        ),
        (
            "{Hero} turned the key, and the box opened.",
            "The key fit, and slowly {hero} opened the box.",
        ),
        (
            "Inside there was a {color} {toy} and a letter.",
            "In the box was a {color} {toy}.",
        ),
        (
            '"This was my {toy} when I was a child," said the {elder}. "Now it is yours."',
            '"I played with this {toy} when I was small," {eshe} said. "You may have it."',
        ),
        (
            "{Hero} thanked {ehim} and promised to take good care of it.",
            '"Thank you," said {hero}, and {she} gave {ehim} a big hug.',
        ),
        (
            "Then {hero} and {friend} played with the {color} {toy} in the garden.",
            "All evening, {hero} and {friend} played with the {toy} by the fire.",
        ),
        (
            "And {hero} put the old key on a {color2} ribbon and kept it for ever.",
            "And the old key stayed in the pocket of {hero} for many years.",
        ),
    ),
)

AFRAID = Plot(
    "step by step",
    (
        "stood at the {water} and watched the other children swim.",
        "went to the {water}, but {she} did not go into the water.",
    ),
    (
        (
            "{She} was afraid, because {she} could not swim.",
            "{She} wanted to swim too, but the water was cold and deep.",
        ),
        (
            "{Her} friend {friend} saw that {she} was alone and sat down next to {him}.",
            "Then {her} friend {friend} came out of the water and asked what was wrong.",
        ),
        (
            '"I am afraid of the water," said {hero}.',
            '"I cannot swim," said {hero}, and {she} looked at the ground.',
        ),
        (
            '"I was afraid too," said {friend}. "I can teach you, step by step."',
            '"Nobody can do it on the first day," said {friend}. "I will show you."',
        ),
        (
            "The first day, {hero} only put {her} feet in the water.",
            "On the first day, {hero} held the hand of {friend} and stood in the water.",
        ),
        (
            "On the second day, {she} went in up to {her} knees.",
            "The next day, {she} put {her} face in the water and laughed.",
        ),
        (
            "{Friend} never laughed at {him} and never let go of {her} hand.",
            "{Friend} stayed at {her} side and told {him} to breathe.",
        ),
        (
            "After a week, {hero} could swim like a {swimmer}.",
            "One day {friend} let go, and {hero} did not even notice that {she} was swimming.",
        ),
        (
            "Then the {color} {toy} of a little child fell into the {water}.",
            "That same day, a little child lost a {color} {toy} in the {water}.",
        ),
        (
            "{Hero} was not afraid, so {she} swam out and brought the {toy} back.",
            "Without a word, {hero} jumped in and got the {color} {toy}.",
        ),
        (
            "The child was happy, and everyone at the {water} was proud of {hero}.",
            '"Thank you!" said the child, and {friend} was very proud of {hero}.',
        ),
        (
            "{Hero} thanked {friend}, because without {fhim} {she} would still be afraid.",
            "That evening {hero} told {her} {elder} that a good friend makes us brave.",
        ),
    ),
)
