-- How results are told: an integer where that is enough, else an array that begins with its kind. Never nil or false.
-- From 0 on: Accepted with this one sequence.
local DONE, STALE, DUPLICATE, REFUSED, ACCEPTED_NOWHERE, ACCEPTED_RUN_NOWHERE = -1, -2, -3, -4, -5, -6
local ACCEPTED = 1 -- counts of targets and stale ones, sequences, names of these, then name and place of each evicted
local REJECTED = 2 -- name
local DROPPED = 3 -- count
local DONE_AT = 4 -- position, then 1 or 0 for each: whether it existed
local TAKEN_ENTRIES = 5 -- how many are left, then sequence and value of each
-- incarnation, epoch, present, mark, queued, previous owner, token and epoch, position, inbox end, details with the
-- lapsed will or "", how many subscriptions, these, how many filters retained messages are owed for, each of these with
-- the position of its Subscribe, then inbound packet ids
local CLAIMED = 6
-- how many were refused, counts of targets and stale ones, first and count of each target, names of the stale ones, then
-- index, name and place of each evicted
local ACCEPTED_RUN = 7
local CLAIMED_POSITION, CLAIMED_INBOX_END = 10, 11

-- By the operation's number: what does it, and what installs that. Most batches need few, and making a function costs
-- as much as calling it.
local handlers, installers = {}, {}
local finishers = {} -- what is left to do when all operations of the batch have their results

-- Who commits: name and token, the bound of inboxes, and the tokens of nodes that can be told of what had to go.
local me, my_token, inbox_bytes_max
local tells_evicted = {}

-- Whose retained messages are owed from this batch on: { session, filter }.
local owing = {}

-- Results that hold the position of this batch's entry in the feed, and those that hold the ends of feed and inbox.
local positioned, claimed = {}, {}
