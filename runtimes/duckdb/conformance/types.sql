-- $text (text)
-- $integer (int)
-- $fraction (double)
-- $truth (bool)
-- $nothing (text)
-- $list (json)
-- $object (json)
-- result_collection=last_statement_first_row
select $text || '!' as text, $integer + 1 as integer, $fraction / 2 as fraction, not $truth as truth,
       $nothing is null as nothing, json_array_length($list) as list, $object -> 'inner' as object
