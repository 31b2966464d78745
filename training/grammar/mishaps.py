"""Plots in which something goes wrong and somebody helps."""

from __future__ import annotations

from training.grammar.plot import Plot

WET_PATH = Plot(
    "wet path",
    (
        "walked to the {place} with {her} {color} {toy}.",
        "went to the {place} to play with {her} {color} {toy}.",
        "wanted to show {her} {color} {toy} to the children {at_place}.",
    ),
    (
        (
            "It had rained all night, and the path was still wet.",
            "It was raining, so the path to the {place} was wet and full of mud.",
            "Dark clouds came, and soon it rained so hard that the path was wet.",
        ),
        (
            "{She} did not look down, so {she} slipped and fell.",
            "{She} ran too fast, slipped on a stone and fell.",
            "Because the path was wet, {she} slipped and hurt {her} knee.",
        ),
        (
            "The {toy} flew out of {her} hands, and {hero} began to cry.",
            "{Her} {toy} fell into the mud, and {hero} was very sad.",
            "{She} dropped the {toy}, and nobody seemed to hear {him} cry.",
        ),
        (
            "A {fchild} named {friend} saw {him} and came to help.",
            "Then a {fchild} named {friend} heard {him} and ran to {her} side.",
        ),
        (
            '"Do not worry," said {friend}. "Take my hand."',
            '"Are you hurt?" asked {friend}. "Let me help you."',
            '"Please do not cry," said {friend}. "I will help you."',
        ),
        (
            "{Fshe} helped {hero} to stand up and cleaned the {color} {toy} with a soft cloth.",
            "{Fshe} gave {hero} {fher} hand, and together they found the {color} {toy}.",
            "{Fshe} picked up the {color} {toy} and gave it back to {hero}.",
        ),
        (
            "{Hero} smiled and thanked {fhim}.",
            '"Thank you," said {hero}. "You are very kind."',
        ),
        (
            "They walked slowly to the {place} and played with the {toy} until the sun went down.",
            "When the rain stopped, they played with the {toy} {at_place} for a long time.",
        ),
        (
            "From that day on, {hero} and {friend} were best friends.",
            "After that, {hero} and {friend} met {at_place} every week.",
            "That is how {hero} and {friend} became good friends.",
        ),
        (
            "And when it rained, {hero} always walked with care.",
            "And {hero} never ran on a wet path again.",
        ),
    ),
)

BAD_CAKE = Plot(
    "second try",
    (
        "wanted to make some {food} for {her} {elder}.",
        "decided to cook {food} as a surprise for {her} {elder}.",
    ),
    (
        (
            "{She} went to the market and bought {fruit}, milk and flour.",
            "{She} took a basket and bought fresh {fruit} at the market.",
        ),
        (
            "{She} worked in the kitchen for an hour, but {she} did not read the book.",
            "{She} was in a hurry and did not look at the fire.",
        ),
        (
            "So the {food} burned, and the kitchen was full of smoke.",
            "Because of that, the {food} was black and tasted very bad.",
        ),
        (
            "{Hero} sat down on the floor and cried.",
            "{Hero} was sad and wanted to give up.",
        ),
        (
            "Then {her} friend {friend} came in and saw the {food}.",
            "Just then there was a knock at the door, and it was {her} friend {friend}.",
        ),
        (
            '"Everyone makes mistakes," said {friend}. "Let us try again."',
            '"It is only {food}," said {friend}. "We can make it again together."',
        ),
        (
            "They washed the {fruit} and put them in a bowl.",
            "{Friend} read the book, and {hero} washed the {fruit}.",
        ),
        (
            "This time they waited and watched the fire.",
            "This time {hero} was slow and did every step with care.",
        ),
        (
            "Soon the {food} smelled sweet and looked wonderful.",
            "After an hour, the {food} was ready, and it smelled very good.",
        ),
        (
            "When {her} {elder} came home, {eshe} could not believe {eher} eyes.",
            "Later {her} {elder} came home and tasted it.",
        ),
        (
            '"This is the best {food} of my life," said {her} {elder}.',
            '"How wonderful!" said {her} {elder}. "Thank you both."',
        ),
        (
            "They sat at the table and ate the {food} together.",
            "{Hero}, {friend} and the {elder} shared the {food} and laughed.",
        ),
        (
            "{Hero} learned that a mistake is not the end.",
            "Since that day, {hero} has never been afraid to try again.",
        ),
    ),
)

BROKEN_THING = Plot(
    "the truth",
    (
        "was playing with a {toy} in the house of {her} {elder}.",
        "threw a {color} {toy} in the kitchen of {her} {elder}.",
    ),
    (
        (
            "There was a {color2} {vessel} on the table.",
            "On the table stood a {color2} {vessel} with fresh {flower}.",
        ),
        (
            "The {toy} hit the {vessel}, and it fell down and broke.",
            "The {toy} flew too far, and the {vessel} fell on the floor and broke.",
        ),
        (
            "{Hero} was afraid and hid behind the door.",
            "{Hero} did not know what to do, so {she} hid the pieces in a box.",
        ),
        (
            "That night {she} could not sleep, because {she} felt bad.",
            "All day {she} was quiet and could not eat.",
        ),
        (
            "In the end {she} told {her} friend {friend} about it.",
            "At last {she} went to {her} friend {friend} and told {fhim} everything.",
        ),
        (
            '"You must tell the truth," said {friend}. "I will go with you."',
            '"Tell the truth," said {friend}. "It will make you feel better."',
        ),
        (
            "So {hero} went to {her} {elder} and said that {she} was sorry.",
            'So {hero} took a deep breath. "I broke your {vessel}," {she} said. "I am sorry."',
        ),
        (
            "The {elder} was not angry and held {her} hand.",
            "The {elder} looked at {him} and smiled.",
        ),
        (
            '"Thank you," said the {elder}. "The truth is worth more than any {vessel}."',
            '"I am glad that you told me," {eshe} said. "We can fix it together."',
        ),
        (
            "{Hero}, {friend} and the {elder} put the pieces together with glue.",
            "They fixed the {color2} {vessel} with glue, and {friend} painted a star on it.",
        ),
        (
            "Then they put {flower} in it and placed it near the window.",
            "Now it stands near the window, and everyone can see it.",
        ),
        (
            "After that, {hero} played with the {toy} only in the garden.",
            "And {hero} always told the truth, even when it was hard.",
        ),
    ),
)
