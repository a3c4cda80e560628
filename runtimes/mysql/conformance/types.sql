-- :text (text)
-- :integer (int)
-- :fraction (double)
-- :truth (bool)
-- :nothing (text)
-- :list (json)
-- :object (json)
-- result_collection=last_statement_first_row
select concat(:text, '!') as text, :integer + 1 as `integer`, :fraction / 2e0 as fraction, not :truth as truth,
       :nothing is null as nothing, json_length(:list) as list, json_extract(:object, '$.inner') as object
